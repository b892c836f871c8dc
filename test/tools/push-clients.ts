/** Real clients that push an image or an artifact, as lines of shell: tests run them, or kill them on their way. */
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { type Puller, pullers } from "./accepted-archive.ts";
import type { ImageStore } from "./docker-engine.ts";
import type { Tool } from "./find-tool.ts";
import { digestOf } from "./read-image.ts";
import { runShell } from "./run-tool.ts";
import { type Environment, type Workshop, sampleListName } from "./workshop.ts";

/**
 * All lines run in one folder. They find the target in `$IMAGE`, which is `$HOST/$NAME:$TAG`, and a token in `$PASSWORD`, which is
 * empty without one. `$NAME` ends with `/app`, and `$TAG` is a semantic version: Helm wants it so.
 */
export interface PushClient {
  readonly name: string;
  readonly needs: readonly Tool[];
  /** Makes what is pushed, and returns the environment in which the lines find it. */
  readonly prepare: (workshop: Workshop) => Promise<Environment>;
  /** Shows the token, if it is not an option of the push. */
  readonly login?: string;
  /** Pushes, and prints the digest that the client has. */
  readonly push: string;
  /** The same for several platforms. */
  readonly pushIndex?: string;
  /** Shows its token only if `GET /v2/` is answered with 401, which it is not where all may pull. */
  readonly waitsFor401?: true;
  /** Ends well although the last manifest of `pushIndex` was refused, and prints nothing then. */
  readonly isSilent?: true;
  /** It gets manifests while it pushes. So its token needs `pull` too. */
  readonly needsPull?: true;
  /** Who pulls the image back: another client. */
  readonly puller: Puller;
}

export interface PushTarget {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  /** The repository. */
  readonly name: string;
  readonly tag: string;
  readonly password?: string | undefined;
}

/** The lines that push, and what they need. */
export interface PushLines {
  readonly script: string;
  readonly env: Environment;
  /** All pushes of a client run there. */
  readonly cwd: string;
}

export function pushLines(
  { login = "", push }: { readonly login?: string | undefined; readonly push: string },
  target: PushTarget,
  { cwd, env }: Pick<PushLines, "cwd" | "env">,
): PushLines {
  const { password = "" } = target;
  const script = `${password === "" ? "" : login}\n${push}`;
  // Clients that are killed leave files there.
  const TMPDIR = cwd;
  return { script, cwd, env: { ...env, ...targetEnvironment(target), PASSWORD: password, TMPDIR } };
}

/** Pushes, and returns the digest that the client has. */
export async function runPush({ script, cwd, env }: PushLines): Promise<string> {
  return (await runShell(script, { cwd, env })).trim();
}

/** The digest that the service has for the tag. */
export async function digestAt({ host, name, tag, password }: PushTarget): Promise<string | undefined> {
  const headers = { ...(password !== undefined && { Authorization: `Bearer ${password}` }), Accept: "*/*" };
  const answer = await fetch(`http://${host}/v2/${name}/manifests/${tag}`, { method: "HEAD", headers });
  return answer.headers.get("Docker-Content-Digest") ?? undefined;
}

/** Pulls an image with everything below it. Returns the digests of the bytes that the client then has. */
export async function pullBack(target: PushTarget, puller: Puller, cwd: string): Promise<string[]> {
  await runShell(pullers[puller], { cwd, env: targetEnvironment(target) });
  const entries = await readdir(join(cwd, "pulled"), { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return Promise.all(files.map(async (file) => digestOf(await readFile(file))));
}

function targetEnvironment({ host, name, tag }: PushTarget): Environment {
  return { HOST: host, NAME: name, TAG: tag, IMAGE: `${host}/${name}:${tag}` };
}

const context = async (workshop: Workshop): Promise<Environment> => ({ CONTEXT: await workshop.context() });

/** A layout, and small images of several platforms in a registry. */
const layoutAndList = async (workshop: Workshop): Promise<Environment> => ({
  LAYOUT: await workshop.layout(),
  SMALL: `${await workshop.smallRegistry()}/small`,
});

const containers = async (workshop: Workshop): Promise<Environment> => workshop.containers();

/** Only with a token. */
const creds = (option: string): string => `\${PASSWORD:+${option}anybody:$PASSWORD}`;

/** Writes what `docker login` would write into a folder of the test's own. */
const dockerConfig = `
  export DOCKER_CONFIG=$PWD/client; mkdir -p client
  printf '{"auths":{"%s":{"auth":"%s"}}}' $HOST $(printf 'anybody:%s' $PASSWORD | base64 -w0) >client/config.json
`;

/** Only an engine with containerd's store can hold several platforms. */
const loadList = `
  regctl --host reg=\${SMALL%/small},tls=disabled image export --name $IMAGE $SMALL:list list.tar
  docker load --quiet --input list.tar >&2
`;

export const pushClients: readonly PushClient[] = [
  dockerPush("docker push", "containerd"),
  dockerPush("docker push, graph driver", "graph driver"),
  dockerPush("docker push, 20.10", "graph driver of 20.10"),
  {
    name: "podman push",
    needs: ["podman", "buildah"],
    prepare: containers,
    push: containersPush("podman push", "localhost/team/app:1.4 $IMAGE"),
    pushIndex: containersPush("podman manifest push --all", `${sampleListName} docker://$IMAGE`),
    puller: "crane",
  },
  {
    name: "buildah push",
    needs: ["buildah"],
    prepare: containers,
    push: containersPush("buildah push", "localhost/team/app:1.4 docker://$IMAGE"),
    pushIndex: containersPush("buildah manifest push --all", `${sampleListName} docker://$IMAGE`),
    isSilent: true, // buildah 1.28
    puller: "regctl",
  },
  {
    name: "skopeo copy",
    needs: ["skopeo", "crane", "regctl"],
    prepare: layoutAndList,
    push: skopeoCopy("oci:$LAYOUT:1.4"),
    pushIndex: skopeoCopy("--all --src-tls-verify=false docker://$SMALL:list"),
    puller: "oras",
  },
  {
    name: "crane push",
    needs: ["crane", "regctl"],
    prepare: layoutAndList,
    login: dockerConfig,
    push: "crane push $LAYOUT $IMAGE | sed 's/.*@//'",
    pushIndex: `crane pull --format oci $SMALL:list list; crane push --index list $IMAGE | sed 's/.*@//'`,
    puller: "regctl",
  },
  {
    name: "crane copy",
    needs: ["crane", "regctl"],
    prepare: async (workshop) => ({ ...(await layoutAndList(workshop)), SOURCE: await workshop.registry() }),
    login: dockerConfig,
    push: "crane copy $SOURCE/team/app:1.4 $IMAGE; crane digest $SOURCE/team/app:1.4",
    pushIndex: "crane copy $SMALL:nested $IMAGE; crane digest $SMALL:nested",
    puller: "regctl",
  },
  regctlCopy("regctl image copy", ""),
  // The layer of 9 MiB goes in three chunks.
  regctlCopy("regctl image copy, in chunks", "--blob-chunk 4194304 --blob-max 4194304"),
  {
    name: "oras push",
    needs: ["oras"],
    prepare: context,
    push: `
      cp $CONTEXT/bin/program $CONTEXT/etc/* .
      oras push --plain-http \${PASSWORD:+--username anybody --password $PASSWORD} --format go-template='{{.digest}}' \\
        --artifact-type a/thing --annotation org.opencontainers.image.created=1970-01-01T00:00:00Z $IMAGE *
    `,
    puller: "regctl",
  },
  {
    name: "oras copy",
    needsPull: true,
    needs: ["oras", "crane", "regctl"],
    prepare: layoutAndList,
    push: orasCopy("--from-oci-layout $LAYOUT:1.4"),
    pushIndex: orasCopy("--from-plain-http $SMALL:nested"),
    puller: "crane",
  },
  {
    name: "helm push",
    needsPull: true,
    needs: ["helm"],
    prepare: context,
    push: `
      mkdir -p app/files; printf 'apiVersion: v2\\nname: app\\nversion: %s\\n' $TAG >app/Chart.yaml
      cat $CONTEXT/bin/program $CONTEXT/etc/* | split -b 4M - app/files/
      [ -e app-$TAG.tgz ] || helm package app >&2
      helm push app-$TAG.tgz oci://$HOST/\${NAME%/app} --plain-http \\
        \${PASSWORD:+--username anybody --password $PASSWORD} >pushed; sed -n 's/^Digest: //p' pushed
    `,
    puller: "oras",
  },
  {
    name: "buildctl build",
    needs: ["buildctl", "buildkitd", "runc"],
    prepare: async (workshop) => ({ ...(await context(workshop)), BUILDKIT_HOST: await workshop.buildKit() }),
    login: dockerConfig,
    push: buildPush(""),
    pushIndex: buildPush("--opt platform=linux/amd64,linux/arm64 --opt attest:provenance=mode=max"),
    puller: "crane",
  },
  {
    name: "ctr images push",
    needs: ["containerd", "ctr", "crane", "regctl"],
    prepare: async (workshop) => ({
      ...(await layoutAndList(workshop)),
      CONTAINERD_ADDRESS: await workshop.containerd(),
    }),
    push: `
      tar -C $LAYOUT -cf layout.tar .
      ctr images import --no-unpack --base-name docker.io/team/app layout.tar >&2
      ${ctrPush("docker.io/team/app:1.4")}
    `,
    pushIndex: `ctr content fetch --plain-http --all-platforms $SMALL:list >&2; ${ctrPush("$SMALL:list")}`,
    puller: "skopeo",
  },
];

function dockerPush(name: string, imageStore: ImageStore): PushClient {
  const isOld = imageStore === "graph driver of 20.10";
  const pushIt = `docker push $IMAGE >pushed; sed -n 's/.* digest: \\(sha256:[0-9a-f]*\\) .*/\\1/p' pushed`;
  return {
    name,
    needs: ["docker", isOld ? "dockerd 20.10" : "dockerd"],
    prepare: async (workshop) => {
      const { env } = await workshop.builder(imageStore);
      return isOld ? env : { ...env, SMALL: `${await workshop.smallRegistry()}/small` };
    },
    login: "export DOCKER_CONFIG=$PWD/client; docker login --username anybody --password $PASSWORD $HOST >&2",
    push: `docker tag team/app:1.4 $IMAGE; ${pushIt}`,
    ...(imageStore === "containerd" ? { pushIndex: loadList + pushIt } : { waitsFor401: true as const }),
    puller: "crane",
  };
}

function containersPush(command: string, image: string): string {
  return `${command} --quiet --tls-verify=false ${creds("--creds=")} --digestfile=digest ${image} >&2; cat digest`;
}

function skopeoCopy(source: string): string {
  const options = `--quiet --dest-tls-verify=false ${creds("--dest-creds=")} --digestfile=digest`;
  return `skopeo copy ${options} ${source} docker://$IMAGE; cat digest`;
}

function regctlCopy(name: string, settings: string): PushClient {
  const copy = (source: string): string => `
    export REGCTL_CONFIG=$PWD/regctl.json
    regctl registry set --skip-check --tls disabled ${settings} $HOST >&2
    regctl registry set --skip-check --tls disabled \${SMALL%/small} >&2
    \${PASSWORD:+regctl registry login $HOST --user anybody --pass $PASSWORD} >&2
    regctl image copy ${source} $IMAGE >&2; regctl manifest head ${source}
  `;
  return {
    name,
    needs: ["regctl", "crane"],
    prepare: layoutAndList,
    push: copy("ocidir://$LAYOUT:1.4"),
    pushIndex: copy("$SMALL:nested"),
    puller: "oras",
  };
}

function orasCopy(source: string): string {
  const login = "${PASSWORD:+--to-username anybody --to-password $PASSWORD}";
  return `oras copy --to-plain-http ${login} ${source} $IMAGE >pushed; sed -n 's/^Digest: //p' pushed`;
}

function buildPush(options: string): string {
  return `
    buildctl build --progress plain --frontend dockerfile.v0 --local context=$CONTEXT --local dockerfile=$CONTEXT ${options} \\
      --output type=image,name=$IMAGE,push=true,registry.insecure=true --metadata-file built.json >&2
    grep -oP '"containerimage.digest": "\\K[^"]+' built.json
  `;
}

function ctrPush(local: string): string {
  return `
    ctr images push --plain-http ${creds("--user ")} $IMAGE ${local} >&2
    ctr images list name==${local} | awk 'NR > 1 { print $3 }'
  `;
}
