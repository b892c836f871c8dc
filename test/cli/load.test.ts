import { execFile } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { randomBytes } from "../support/bytes.ts";
import { joinLayouts, makeLayout, tarOf, withBadBlob, withoutPlatform } from "../support/layout.ts";
import { listFiles, newFolder, startCommand, stowage, until } from "../support/run-stowage.ts";

const small = randomBytes(1000);
/** Larger than what a store takes in one piece, so that it is streamed. */
const large = randomBytes(9 * 1024 * 1024, 2);
const image = makeLayout({ layers: [small, large], name: "docker.io/team/app:1.4" });
const newImage = makeLayout({ layers: [small], name: "docker.io/team/app:1.4", label: "new" });

describe("stowage load", () => {
  let folder: string;
  let tarball: string;

  beforeAll(async () => {
    folder = await newFolder();
    tarball = await file("app.tar", await tarOf(image));
  });

  async function file(name: string, bytes: Uint8Array): Promise<string> {
    const path = join(folder, name);
    await writeFile(path, bytes);
    return path;
  }

  it("loads a file into ./data and says what it is called now", async () => {
    const cwd = await newFolder();
    const { code, stdout, stderr } = await stowage(["load", tarball], { cwd });
    expect(stdout).toMatch(
      new RegExp(
        `^team/app:1\\.4  created\n  digest  ${image.digest}\nBlobs: 4 written \\(9\\.00 MiB\\)\nRead 9\\.01 MiB in .* s\n$`,
      ),
    );
    expect(stderr).toBe(`Loading ${tarball} (9.01 MiB) into file:./data\n`);
    expect(code).toBe(0);
    expect(await listFiles(join(cwd, "data/blobs/sha256"))).toHaveLength(4);
  });

  it("loads standard input under a name from the command line", async () => {
    const input = await tarOf(image, { compress: "gzip", prefix: "./", directories: true });
    const { code, stdout } = await stowage(["load", "-", "other/name:2"], { input });
    expect(stdout).toMatch(/^other\/name:2 {2}created\n/);
    expect(code).toBe(0);
  });

  it("loads a pipe that has a path, and ends while it stalls", async () => {
    const pipe = join(folder, "pipe");
    await promisify(execFile)("mkfifo", [pipe]);
    const [{ code, stdout }] = await Promise.all([
      stowage(["load", pipe, "piped:1"]),
      writeFile(pipe, await tarOf(image)),
    ]);
    expect(stdout).toMatch(/^piped:1 {2}created\n/);
    expect(code).toBe(0);

    const running = await startCommand(["load", pipe]);
    const stalling = createWriteStream(pipe);
    await once(stalling, "open"); // it is open once both ends are
    running.kill("SIGTERM");
    expect(await running.outcome).toMatchObject({ code: 143 });
    stalling.destroy();
  });

  it("takes the store from the settings, and from --store before them", async () => {
    const [fromSettings, fromOption] = [await newFolder(), await newFolder()];
    const env = { STOWAGE_STORE: `file:${fromSettings}`, HOST: "0.0.0.0", PORT: "x" }; // the service's, of no matter here
    expect((await stowage(["load", tarball], { env })).code).toBe(0);
    expect((await stowage(["load", tarball, "--store", `file:${fromOption}`], { env })).code).toBe(0);
    expect(await listFiles(join(fromSettings, "blobs"))).toEqual(await listFiles(join(fromOption, "blobs")));
  });

  it("prints the receipt and nothing else with --json", async () => {
    const { stdout } = await stowage(["load", tarball, "--json"]);
    const receipt: unknown = JSON.parse(stdout);
    expect(receipt).toHaveProperty("requests.put");
    expect(receipt).toMatchObject({
      images: [
        {
          repository: "team/app",
          reference: "1.4",
          digest: image.digest,
          mediaType: "application/vnd.oci.image.manifest.v1+json",
          size: image.roots[0]?.size,
          status: "created",
        },
      ],
      blobs: [...image.blobs].map(([digest, { length: size }]) => ({ digest, size, status: "written" })),
      ignored: [],
      totals: { images: 1, referrers: 0, written: image.blobs.size, present: 0, repaired: 0, ignored: 0 },
      bytes: {
        received: (await tarOf(image)).length,
        written: [...image.blobs.values()].reduce((sum, { length }) => sum + length, 0),
        present: 0,
        repaired: 0,
      },
    });
  });

  it("says what was there already, what a tag was before, and which platforms are absent", async () => {
    const cwd = await newFolder();
    await stowage(["load", tarball], { cwd });
    const again = await stowage(["load", tarball], { cwd });
    expect(again.stdout).toContain("team/app:1.4  unchanged\n");
    expect(again.stdout).toContain("Blobs: 4 already there (9.00 MiB)\n");

    const moved = await stowage(["load", "-"], { cwd, input: await tarOf(newImage) });
    expect(moved.stdout).toContain(`team/app:1.4  updated\n  before  ${image.digest}\n  digest  ${newImage.digest}\n`);
    expect(moved.stdout).toContain("Blobs: 2 written (");
    expect(moved.stdout).toContain(", 1 already there (1000 bytes)\n");

    const index = makeLayout({ platforms: ["linux/amd64", "linux/arm64/v8"], refName: "multi" });
    const sparse = joinLayouts(withoutPlatform(index, 1), makeLayout({ label: "nameless" }));
    const partly = await stowage(["load", "-"], {
      cwd,
      input: await tarOf(sparse, { extra: [{ name: "\u001b[31mred", bytes: small }] }),
    });
    expect(partly.stdout).toContain(`images:multi  created\n  digest  ${index.digest}\n  absent  linux/arm64/v8\n`);
    expect(partly.stdout).toContain(`images@${sparse.roots[1]?.digest}  created\nBlobs:`);
    expect(partly.stdout).toContain('Ignored "\\u001b[31mred": not needed by any image\n');
  });

  it("exits with 1 and publishes nothing when the archive is wrong", async () => {
    const whole = await tarOf(image);
    const wrong: readonly (readonly [Uint8Array, RegExp])[] = [
      [Buffer.from("no tarball at all"), /as an archive: it starts with "no tarball at al"/],
      [new Uint8Array(), /as an archive: it is empty/],
      [whole.subarray(0, whole.length / 2), /the archive: it is cut short in or after "blobs\/sha256\//],
      [await tarOf(withBadBlob(image, image.layers[1])), /its 9437184 bytes have digest "sha256:/],
      [await tarOf(makeLayout({ name: "docker.io/Bad/Name:1" })), /Cannot use "Bad\/Name" as a repository name/],
    ];
    const cwd = await newFolder();
    for (const [input, message] of wrong) {
      const { code, stdout, stderr } = await stowage(["load", "-"], { cwd, input });
      expect(stderr).toMatch(message);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    }
    expect((await listFiles(cwd)).filter((path) => /index\.json|tmp/.test(path))).toEqual([]);
  });

  it("exits with 2 when it cannot use its arguments", async () => {
    await mkdir(join(folder, "directory"));
    const wrong: readonly (readonly [readonly string[], RegExp])[] = [
      [[], /found no arguments, expected FILE\|- \[NAME\[:TAG\]\]/],
      [[tarball, "a", "b"], /expected FILE\|- \[NAME\[:TAG\]\]/],
      [[join(folder, "nowhere.tar")], /nowhere\.tar": there is no such file/],
      [[join(folder, "directory")], /directory": it is a directory, expected a tarball/],
      [[tarball, "other.tar"], /found "other\.tar" as the name, which is that of a file; expected FILE/],
      [[tarball, "https://ghcr.io/acme/app"], /found "https:\/\/" in front, expected a name without it, such as "ghcr/],
      [[tarball, "Bad:1"], /Cannot use "Bad" as a repository name/],
      [[tarball, "--unknown"], /there is no option --unknown/],
      [[tarball, "--store", ""], /--store is empty/],
      [[tarball, "--store", "ftp://x"], /STOWAGE_STORE is "ftp:\/\/x"/],
      [[tarball, "--to", "127.0.0.1:8080"], /expected one such as http:\/\/127\.0\.0\.1:8080/],
      [[tarball, "--to", "http://127.0.0.1:8080", "--store", "memory:"], /expected one of them/],
    ];
    for (const [args, message] of wrong) {
      const { code, stdout, stderr } = await stowage(["load", ...args]);
      expect(stderr).toMatch(message);
      expect(stderr).toMatch(/Try "stowage load --help"\.\n$/);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    }
  });

  it.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)(
    "ends on %s in the middle of a layer, though its input stalls, and leaves no file",
    async (signal, code) => {
      const store = await newFolder();
      const running = await startCommand(["load", "-", "--store", `file:${store}`]);
      const bytes = await tarOf(image);
      running.stdin.write(bytes.subarray(0, bytes.length / 2)); // and then nothing more, without an end
      await until(async () => (await listFiles(store)).find((path) => path.startsWith(".stowage/tmp/")));
      running.kill(signal);
      expect(await running.outcome).toEqual({
        code,
        stdout: "",
        stderr: `Loading standard input into file:${store}\nstowage load: ended by ${signal}\n`,
      });
      const left = await listFiles(store);
      expect(left.filter((path) => !path.startsWith("blobs/"))).toEqual(["oci-layout"]);
    },
  );

  it("outlives whoever reads what it prints", async () => {
    const running = await startCommand(["load", tarball]);
    running.closeOutput();
    const { code, stderr } = await running.outcome;
    expect(stderr).toBe(`Loading ${tarball} (9.01 MiB) into file:./data\n`);
    expect(code).toBe(0);
  });
});
