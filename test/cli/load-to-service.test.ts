import { once } from "node:events";
import { readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, type Socket, createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf, withoutBlob } from "../support/layout.ts";
import {
  type Outcome,
  type RunningCommand,
  type ServingCommand,
  listFiles,
  newFolder,
  serveStowage,
  startCommand,
  stowage,
  until,
} from "../support/run-stowage.ts";

const image = makeLayout({ layers: [randomBytes(9 * 1024 * 1024)], name: "docker.io/team/app:1.4" });
/** More than a service wants in one request. */
const large = makeLayout({ layers: [randomBytes(65 * 1024 * 1024, 2)], name: "docker.io/team/app:1.4" });

describe("stowage load --to", () => {
  let folder: string;
  let tarball: string;
  let service: ServingCommand;

  beforeAll(async () => {
    folder = await newFolder();
    tarball = join(folder, "app.tar");
    await writeFile(tarball, await tarOf(image));
    service = await serveStowage(["--store", `file:${folder}/data`]);
  });

  afterAll(async () => {
    service.kill("SIGTERM");
    expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
  });

  it("loads a file and says how to pull it", async () => {
    const { code, stdout, stderr } = await stowage(["load", tarball, "--to", service.url]);
    const registry = service.url.slice("http://".length);
    expect(stdout).toContain(
      `team/app:1.4  created\n  digest  ${image.digest}\n  pull    docker pull ${registry}/team/app:1.4\n`,
    );
    expect(stderr).toBe(`Reading ${tarball} (9.01 MiB)\nLoading ${tarball} (9.01 MiB) into ${service.url}\n`);
    expect(code).toBe(0);
    expect((await fetch(`${service.url}/v2/team/app/manifests/1.4`)).status).toBe(200);
  });

  it.each(["/v1/load", "/v1/load/", "//v1/load"])(
    "takes the URL that curl loads into for the service's: %s",
    async (path) => {
      const { code, stdout } = await stowage(["load", tarball, "curl:1", "--to", `${service.url}${path}`]);
      expect(stdout).toContain(`docker pull ${service.url.slice("http://".length)}/curl:1\n`);
      expect(code).toBe(0);
    },
  );

  it("says that a port speaks no TLS, and that nothing listens at one", async () => {
    const secure = service.url.replace("http:", "https:");
    expect((await stowage(["load", tarball, "--to", secure])).stderr).toMatch(
      /speaks no TLS: is the URL to begin with http:\/\/\?$/m,
    );
    expect((await stowage(["load", tarball, "--to", "http://127.0.0.1:1"])).stderr).toMatch(
      /ECONNREFUSED.*; nothing listens there: /,
    );
  });

  it("says how a name is given that stands in the URL", async () => {
    const args = ["load", tarball, "--to", `http://user:secret@127.0.0.1:1/below/v1/load/team/app:1.4`];
    expect(await stowage(args)).toEqual({
      code: 2,
      stdout: "",
      stderr: `stowage load: found "http://127.0.0.1:1/below/v1/load/team/app:1.4" as the service's URL, expected http://127.0.0.1:1/below, and the name "team/app:1.4" as an argument\nTry "stowage load --help".\n`,
    });
  });

  it("loads standard input under a name, and prints the service's receipt with --json", async () => {
    const options = { input: await tarOf(image) };
    const args = ["load", "-", "given:name", "--to", `${service.url}/`, "--json"];
    const { code, stdout } = await stowage([...args, "--direct"], options);
    expect(JSON.parse(stdout)).toMatchObject({
      images: [{ repository: "given", reference: "name", digest: image.digest, status: "created" }],
      bytes: { received: options.input.length },
      requests: {},
    });
    expect(code).toBe(0);
    const again = await stowage(args, options);
    expect(JSON.parse(again.stdout)).toMatchObject({
      images: [{ digest: image.digest, status: "unchanged" }],
      blobs: [],
    });
  });

  it("refuses an archive that cannot be read at once, and sends nothing of it", async () => {
    const whole = await tarOf(image);
    const wrong: readonly (readonly [Uint8Array, RegExp])[] = [
      [Buffer.from("no tarball at all"), /: Cannot read the body as an archive: it starts with "no tarball at al"/],
      [whole.subarray(0, whole.length / 2), /: Cannot read the archive: it is cut short in or after "blobs\/sha256\//],
    ];
    const path = join(folder, "wrong.tar");
    for (const [input, message] of wrong) {
      await writeFile(path, input);
      for (const file of ["-", path]) {
        const { code, stdout, stderr } = await stowage(["load", file, "--to", "http://127.0.0.1:1"], { input });
        expect(stderr).toMatch(message);
        expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      }
    }
  });

  it("ends on SIGTERM while its input stalls", async () => {
    const client = await startCommand(["load", "-", "--to", service.url]);
    const beginning = (await tarOf(image)).subarray(0, half);
    await new Promise((resolve) => client.stdin.write(beginning, resolve)); // more than fits into the pipe
    client.kill("SIGTERM");
    const { code, stderr } = await client.outcome;
    expect(stderr).toBe("Reading standard input\nstowage load: ended by SIGTERM\n");
    expect(code).toBe(143);
  });

  it("shows what the service has against the archive, also long before its end", async () => {
    const noTarball = Buffer.concat([Buffer.from("no tarball"), randomBytes(40 * 1024 * 1024)]);
    const wrong: readonly (readonly [Uint8Array, RegExp])[] = [
      [noTarball, /it answered 400 ARCHIVE_INVALID: Cannot read the body as an archive: it starts with "no tarball/],
      [await tarOf(withoutBlob(image, image.layers[0])), /it answered 400 MANIFEST_BLOB_UNKNOWN: Cannot publish/],
    ];
    const emptyService = await serveStowage(["--store", "memory:"]);
    for (const [input, message] of wrong) {
      const { code, stdout, stderr } = await stowage(["load", "-", "--direct", "--to", emptyService.url], { input });
      expect(stderr).toMatch(message);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    }
    emptyService.kill("SIGTERM");
    expect((await emptyService.outcome).code).toBe(0);
  });

  it("ends on SIGTERM while what it sends directly stalls, and so does the load in the service", async () => {
    const store = await newFolder();
    const other = await serveStowage(["--store", `file:${store}`]);
    const client = await startLoading(other.url, store);
    client.kill("SIGTERM");
    expect(await client.outcome).toMatchObject({ code: 143, stdout: "" });
    await until(async () => ((await listFiles(store)).some(isTemporary) ? undefined : true));
    other.kill("SIGTERM");
    expect(await other.outcome).toMatchObject({ code: 0, stderr: "" });
  });
});

describe("stowage load --copy-to", () => {
  let folder: string;
  let tarball: string;
  let service: ServingCommand;

  /** While there is a file in place of its folder, the target `ap` is down. */
  const goDown = async (): Promise<void> => writeFile(join(folder, "ap"), "");

  beforeEach(async () => {
    folder = await newFolder();
    tarball = join(folder, "app.tar");
    await writeFile(tarball, await tarOf(image));
    service = await serveStowage(["--store", `file:${folder}/eu`], {
      STOWAGE_COPY_TARGETS: JSON.stringify({ us: `file:${folder}/us`, ap: `file:${folder}/ap` }),
    });
    return async () => {
      service.kill("SIGTERM");
      expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
    };
  });

  const load = async (...args: readonly string[]): Promise<Outcome> =>
    stowage(["load", tarball, "--to", service.url, ...args]);
  const indexOf = async (target: string): Promise<string> =>
    readFile(join(folder, target, "repositories/team/app/_layout/index.json"), "utf8").catch(() => "");

  it.each([
    ["in parts", large, []],
    ["in one request", image, []],
    ["directly", image, ["--direct"]],
  ])("gives an end to what it sends %s", async (_, layout, args) => {
    await writeFile(tarball, await tarOf(layout));
    const { code, stdout, stderr } = await load("--expires", "72h", ...args);
    expect(stdout).toMatch(/^team\/app:1\.4 {2}.*\n(?: {2}.*\n)* {2}ends {4}\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z\n/);
    expect(code, stderr).toBe(0);
  });

  it.each([
    ["in parts", large, []],
    ["in one request", image, []],
    ["directly", image, ["--direct"]],
  ])("copies what it sends %s, and has a line for each target", async (_, layout, args) => {
    await writeFile(tarball, await tarOf(layout));
    const { code, stdout, stderr } = await load("--copy-to", "us,ap", ...args);
    expect(stdout).toMatch(
      /\nus: copied 1 image, 0 unchanged: \d blobs with .*, 0 bytes there already\nap: copied 1 image, 0 unchanged: /,
    );
    expect(code, stderr).toBe(0);
    for (const target of ["us", "ap"]) expect(await indexOf(target)).toContain(layout.digest);
    expect((await load("--copy-to", "us", ...args)).stdout).toMatch(
      /\nus: copied 0 images, 1 unchanged: 0 blobs with 0 bytes, .* there already\nRead /,
    );
  });

  it.each([
    ["in parts", large],
    ["in one request", image],
  ])("sent %s, tells which target failed, and copies the rest when it is run again", async (_, layout) => {
    await writeFile(tarball, await tarOf(layout));
    await goDown();
    const failed = await load("--copy-to", "us,ap");
    expect(failed.stdout).toMatch(
      /^team\/app:1.4 {2}created\n[^]*\nus: copied 1 image, 0 unchanged: .*\nap: copied 0 images, 0 unchanged, 1 image failed: /,
    );
    expect(failed.stderr).toMatch(
      /\nstowage load: Cannot copy team\/app:1.4 to ap: STORE_UNAVAILABLE: .*\nstowage load: The service itself has the images: run the same again to copy the rest\n$/,
    );
    expect(failed.code).toBe(1);
    expect(await Promise.all(["eu", "us", "ap"].map(indexOf))).toEqual([
      expect.stringContaining(layout.digest),
      expect.stringContaining(layout.digest),
      "",
    ]);
    expect(service.stdout().match(/copied to /g), "the service is asked once").toHaveLength(1);

    await rm(join(folder, "ap"));
    const again = await load("--copy-to", "us,ap", "--json");
    expect(JSON.parse(again.stdout)).toMatchObject({
      images: [{ status: "unchanged" }],
      copies: [
        { target: "us", images: [{ status: "unchanged" }] },
        { target: "ap", images: [{ status: "created" }] },
      ],
    });
    expect(again.code).toBe(0);
    expect(await indexOf("ap")).toContain(layout.digest);
  });

  it("prints the receipt of a failed copy with --json", async () => {
    await goDown();
    const { code, stdout } = await load("--copy-to", "ap", "--json");
    const failures = [{ repository: "team/app", reference: "1.4", code: "STORE_UNAVAILABLE" }];
    expect(JSON.parse(stdout)).toMatchObject({
      images: [{ digest: image.digest }],
      copies: [{ target: "ap", failures }],
    });
    expect(code).toBe(1);
  });

  it("is a failure of stowage copy too, if each load of the service copies to a target that is down", async () => {
    await goDown();
    const from = `file:${await newFolder()}`;
    await stowage(["load", tarball, "--store", from]);
    const other = await serveStowage(["--store", `file:${folder}/other`], {
      STOWAGE_COPY_TARGETS: JSON.stringify({ ap: `file:${folder}/ap` }),
      STOWAGE_COPY_AFTER_LOAD: "ap",
    });
    const { code, stdout, stderr } = await stowage(["copy", from, other.url]);
    expect(stdout).toMatch(/^team\/app:1.4 created .*\nCopied 1 image, 0 unchanged, 1 image failed: /);
    expect(stderr).toMatch(/\nstowage copy: team\/app:1.4: COPY_FAILED: Cannot copy all images to ap \(/);
    expect(code).toBe(1);
    other.kill("SIGTERM");
    expect(await other.outcome).toMatchObject({ code: 0, stderr: "" });
  });

  it("shows a target that the service does not have, and keeps what was sent", async () => {
    await writeFile(tarball, await tarOf(large));
    const wrong = await load("--copy-to", "su");
    expect(wrong.stderr).toMatch(/it answered 400 INPUT_INVALID: .*found "su" as a target, expected us or ap\n$/);
    expect(wrong.code).toBe(1);
    const right = await load("--copy-to", "us");
    expect(right.stderr).toMatch(/\n(\d+) of \1 parts are there from before: /);
    expect(right.code).toBe(0);
  });
});

describe("stowage load --to another server", () => {
  const oneLine = '{"errors":[{"code":"DENIED","message":"you may \\u001b[31mnot"}]}';
  const answers: readonly (readonly [string, string, RegExp])[] = [
    ["an error of OCI's", reply("403 Forbidden", oneLine), /it answered 403 DENIED: you may \\u001b\[31mnot\n$/],
    ["a proxy's page", reply("413 Too Large", `<h1>${"No ".repeat(500)}`), /it answered 413 <h1>No No .{280,300}…\n$/],
    ["nothing to read", reply("502 Bad Gateway", ""), /it answered 502 and says no more\n$/],
    [
      "another address",
      reply("308 Moved", "", "Location: https://x.example/"),
      /and points to https:\/\/x\.example\/: use/,
    ],
    ["200 without a receipt", reply("200 OK", "hello"), /it answered 200 without a receipt: is this a Stowage\?\n$/],
    ["no HTTP", "SSH-2.0-x\r\n", /the connection failed after \d+ bytes were sent: Parse Error/],
    ["nothing", "", /the connection failed after \d+ bytes were sent: /],
  ];

  it.each(answers)("says what it found: %s", async (_, answer, message) => {
    const server = createServer((socket) => void answerOnce(socket, answer)).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const input = randomBytes(4 * 1024 * 1024);
    const { code, stderr } = await stowage(["load", "-", "--direct", "--to", `http://127.0.0.1:${port}`], { input });
    server.close();
    expect(stderr).toMatch(message);
    expect(code).toBe(1);
  });

  it("asks below the path that the URL has, and shows no password", async () => {
    const paths: string[] = [];
    const server = createServer((socket) => {
      socket.on("error", () => undefined);
      socket.once("data", (head) => paths.push(String(head.toString("latin1").split(" ", 2)[1])));
      void answerOnce(socket, reply("401 No", oneLine));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const url = `http://me:secret@127.0.0.1:${port}/images/`;
    const { stderr } = await stowage(["load", "-", "team/app:1", "--direct", "--to", url], { input: "" });
    server.close();
    expect(paths).toEqual(["/images/v1/load/team/app:1?verbose=true"]);
    expect(stderr).toContain(`Cannot load into http://127.0.0.1:${port}/images: it answered 401 DENIED`);
    expect(stderr).not.toContain("secret");
  });

  it("exits with 2 for a URL, a token or options that it cannot use, and shows no token", async () => {
    const env = { STOWAGE_TOKEN: "secret \n" };
    const wrong: readonly (readonly [readonly string[], RegExp])[] = [
      [["--direct"], /found --direct, expected --to with it/],
      [["--copy-to", "us"], /found --copy-to, expected --to with it/],
      [["--to", "ftp://me:secret@x"], /Cannot use "…@x" as the service's URL: expected one such as http:/],
      [["--to", "ci:secret@stowage.example"], /Cannot use "…@stowage\.example" as the service's URL/],
      [["--to", "//ci:se@secret@x"], /Cannot use "…@x" as the service's URL/],
      [["--to", "http://ci:1/secret@x"], /Cannot use "…@x" as the service's URL: .*%2F/],
      [["--to", "http://secret@x"], /the service's URL has a user without a password/],
      [["--to", "http://sec%3Aret:secret@x"], /the user in the service's URL has a colon/],
      [["--to", "http://x"], /STOWAGE_TOKEN has characters that no token has/],
    ];
    for (const [args, message] of wrong) {
      const { code, stderr } = await stowage(["load", "-", ...args], { env, input: "" });
      expect(stderr).toMatch(message);
      expect(stderr).not.toContain("secret");
      expect(code).toBe(2);
    }
  });

  it("says that nobody listens", async () => {
    const { code, stderr } = await stowage(["load", "-", "--to", "http://127.0.0.1:1"], { input: await tarOf(image) });
    expect(stderr).toMatch(/Cannot load into http:\/\/127\.0\.0\.1:1: .*ECONNREFUSED/);
    expect(code).toBe(1);
  });
});

describe("stowage serve", () => {
  it("finishes the loads that run when it gets SIGTERM", async () => {
    const store = await newFolder();
    const service = await serveStowage(["--store", `file:${store}`]);
    const client = await startLoading(service.url, store);
    service.kill("SIGTERM");
    await until(() => (service.stdout().includes("Stopping") ? true : undefined));
    client.stdin.end((await tarOf(image)).subarray(half));
    expect(await client.outcome).toMatchObject({ code: 0 });
    expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
    expect(await listFiles(store)).toContain("repositories/team/app/_layout/index.json");
  });

  it.each([
    ["after STOWAGE_STOP_SECONDS", "1", 1],
    ["at once by a second signal", "60", 2],
  ])("ends those that take too long %s", async (_, seconds, signals) => {
    const store = await newFolder();
    const service = await serveStowage(["--store", `file:${store}`], { STOWAGE_STOP_SECONDS: seconds });
    const client = await startLoading(service.url, store);
    for (let i = 0; i < signals; i++) {
      service.kill("SIGTERM");
      await until(() => (service.stdout().includes("Stopping") ? true : undefined));
    }
    expect((await client.outcome).stderr).toMatch(
      /it answered 503 INTERRUPTED: Cannot finish: the service is stopping\n$/,
    );
    expect(await service.outcome).toMatchObject({ code: 0, stderr: "" });
    expect(await listFiles(store)).toEqual(["oci-layout"]);
  });
});

const half = 5 * 1024 * 1024;

/** Starts a load that sends half of the image and then nothing more, and waits until the service stores it. */
async function startLoading(url: string, store: string): Promise<RunningCommand> {
  const client = await startCommand(["load", "-", "--direct", "--to", url]);
  client.stdin.write((await tarOf(image)).subarray(0, half));
  await until(async () => ((await listFiles(store)).some(isTemporary) ? true : undefined));
  return client;
}

function isTemporary(path: string): boolean {
  return path.startsWith(".stowage/tmp/");
}

function reply(status: string, body: string, header = "Server: test"): string {
  return `HTTP/1.1 ${status}\r\n${header}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

/** Answers the first bytes, whatever they are, and takes the rest without a word. */
async function answerOnce(socket: Socket, answer: string): Promise<void> {
  socket.on("error", () => undefined);
  await once(socket, "data");
  if (answer === "") socket.destroy();
  else socket.write(answer);
  socket.resume();
}
