/** A folder with all that the writers and clients of the tests work on; each part is made when it is first asked for. */
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBuildKit } from "./buildkit.ts";
import { startContainerd } from "./containerd.ts";
import { containersEnvironment } from "./containers-storage.ts";
import { type DockerEngine, type ImageStore, startDockerEngine } from "./docker-engine.ts";
import { runShell, runTool } from "./run-tool.ts";
import { sampleName, writeSampleContext, writeSmallContext } from "./sample-image.ts";
import { pushSmallImages } from "./small-images.ts";
import { startService } from "./start-service.ts";

export type Environment = Readonly<Record<string, string>>;

export interface Workshop {
  /** A new empty folder. */
  newFolder(): Promise<string>;
  /** The environment in which podman, buildah and skopeo find `localhost/team/app:1.4`, and a list for two platforms. */
  containers(): Promise<Environment>;
  /** What the image is built from. */
  context(): Promise<string>;
  /** An image layout by umoci, with the tag `1.4`. */
  layout(): Promise<string>;
  /** A small image layout by umoci, with the tag `1.4`. */
  smallLayout(): Promise<string>;
  /** What the small image is built from. */
  smallContext(): Promise<string>;
  /** The address of a registry by crane that holds `team/app:1.4`. */
  registry(): Promise<string>;
  /** The address of another that holds the `smallImages`. */
  smallRegistry(): Promise<string>;
  /** The address of a BuildKit. */
  buildKit(): Promise<string>;
  /** The address of a containerd without images. */
  containerd(): Promise<string>;
  /** An engine that has built `team/app:1.4`. */
  builder(imageStore: ImageStore): Promise<DockerEngine>;
  /** An engine without images. */
  puller(imageStore: ImageStore): Promise<DockerEngine>;
  /** Ends all services and deletes all files. */
  readonly close: () => Promise<void>;
}

interface Stoppable {
  readonly stop: () => Promise<void>;
}

/** The list for two platforms in the storage of `containers`. */
export const sampleListName = "localhost/team/app:all";

/** `writeContext` writes what `team/app:1.4` is built from. */
export async function openWorkshop(writeContext = writeSampleContext): Promise<Workshop> {
  const root = await mkdtemp(join(tmpdir(), "stowage-workshop-"));
  // Does nothing, but its folder is deleted however the tests end.
  const janitor = await startService({ folder: root, command: ["sleep", "infinity"], ready: () => "" });
  const services: Stoppable[] = [];
  const keep = <S extends Stoppable>(service: S): S => {
    services.push(service);
    return service;
  };
  const newFolder = async (): Promise<string> => mkdtemp(join(root, "folder-"));

  const context = once(async () => {
    const folder = await newFolder();
    await writeContext(folder);
    return folder;
  });
  const smallContext = once(async () => {
    const folder = await newFolder();
    await writeSmallContext(folder);
    return folder;
  });
  const builders = perStore(async (imageStore) => {
    const engine = keep(await startDockerEngine(imageStore));
    await engine.docker("build", "--quiet", "--tag", sampleName, await context());
    return engine;
  });
  const pullers = perStore(async (imageStore) => keep(await startDockerEngine(imageStore)));

  return {
    newFolder,
    context,
    containers: once(async () => buildWithBuildah(await context(), await newFolder())),
    layout: once(async () => buildWithUmoci(await context(), join(await newFolder(), "layout"))),
    smallLayout: once(async () => buildWithUmoci(await smallContext(), join(await newFolder(), "layout"))),
    smallContext,
    registry: once(async () => {
      const { answer } = keep(await startCraneRegistry(await newFolder()));
      await pushWithCrane(await context(), `${answer}/${sampleName}`);
      return answer;
    }),
    smallRegistry: once(async () => {
      const { answer } = keep(await startCraneRegistry(await newFolder()));
      await pushSmallImages(answer, { context: await smallContext(), folder: await newFolder() });
      return answer;
    }),
    buildKit: once(async () => keep(await startBuildKit(await newFolder())).answer),
    containerd: once(async () => keep(await startContainerd(await newFolder())).answer),
    builder: async (imageStore) => builders[imageStore](),
    puller: async (imageStore) => pullers[imageStore](),
    close: async () => {
      await Promise.all(services.map(async (service) => service.stop()));
      await janitor.stop();
    },
  };
}

async function buildWithBuildah(context: string, folder: string): Promise<Environment> {
  const env = await containersEnvironment(folder);
  const build = ["bud", "--quiet", "--layers", "--timestamp", "0"];
  await runTool("buildah", [...build, "--tag", `localhost/${sampleName}`, context], { env });
  // Its cache would take one platform's image for the other's.
  const platforms = ["--no-cache", "--platform", "linux/amd64,linux/arm64", "--manifest", sampleListName];
  await runTool("buildah", [...build, ...platforms, context], { env });
  return env;
}

async function buildWithUmoci(context: string, layout: string): Promise<string> {
  const image = `${layout}:1.4`;
  const epoch = "1970-01-01T00:00:00Z";
  await runTool("umoci", ["init", "--layout", layout]);
  await runTool("umoci", ["new", "--image", image]);
  for (const path of ["bin", "etc", "etc"]) {
    await runTool("umoci", ["insert", "--image", image, "--history.created", epoch, join(context, path), `/${path}`]);
  }
  await runTool("umoci", ["gc", "--layout", layout]);
  return layout;
}

/** An empty registry by crane. It deletes the folder when it ends. */
export async function startCraneRegistry(folder: string): ReturnType<typeof startService> {
  return startService({
    folder,
    command: ["crane", "registry", "serve", "--address", "127.0.0.1:0"],
    ready: (output) => {
      const port = /serving on port (\d+)/.exec(output)?.[1];
      return port === undefined ? undefined : `127.0.0.1:${port}`;
    },
  });
}

/** Without `--oci-empty-base` the manifest has Docker's media types, in an image layout too. */
async function pushWithCrane(context: string, image: string): Promise<void> {
  const pack = "tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner";
  await runShell(`${pack} -cf bin.tar bin && ${pack} -cf etc.tar etc`, { cwd: context });
  await runTool("crane", ["append", "-f", "bin.tar", "-f", "etc.tar", "-f", "etc.tar", "-t", image], { cwd: context });
}

function perStore<T>(make: (imageStore: ImageStore) => Promise<T>): Readonly<Record<ImageStore, () => Promise<T>>> {
  return {
    containerd: once(async () => make("containerd")),
    "graph driver": once(async () => make("graph driver")),
    "graph driver of 20.10": once(async () => make("graph driver of 20.10")),
  };
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return async () => (made ??= make());
}
