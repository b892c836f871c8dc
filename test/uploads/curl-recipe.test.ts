/** The recipe of `docs/using.md` for an upload in parts, with real shell tools, against each kind of store. */
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type HttpBindings, createAdaptorServer } from "@hono/node-server";
import type { Context } from "hono";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createApp } from "../../src/http/app.ts";
import { DirectoryStore } from "../../src/storage/directory/directory-store.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { makeS3Store } from "../servers/s3-bucket.ts";
import { describeS3Servers } from "../servers/s3-servers.ts";
import { randomBytes } from "../support/bytes.ts";
import { makeLayout, tarOf } from "../support/layout.ts";
import { describeIfFound } from "../support/requirement.ts";
import { missingTools } from "../tools/find-tool.ts";
import { runShell } from "../tools/run-tool.ts";
import { openLayout } from "../support/open-layout.ts";

/** The lines as they stand there: begin, send, load, and what a client asks after a break. */
const [begin = "", send = "", load = "", ask = ""] = (
  await readFile(new URL("../../docs/using.md", import.meta.url), "utf8")
)
  .split("\n")
  .filter((line) => /^(?:curl|jq) .*upload\.json/.test(line));

const layout = makeLayout({ layers: [randomBytes(20_000_000), randomBytes(13_000_000, 2)] });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "stowage-recipe-"));
  await writeFile(join(folder, "app.tar"), await tarOf(layout));
});
afterAll(() => rm(folder, { recursive: true }));

function describeRecipe(name: string, open: () => Promise<ObjectStore>): void {
  describeIfFound(`three lines of shell, into ${name},`, missingTools(["bash", "curl", "jq", "xargs"]), () => {
    it("load a tarball in parts, and again after a break", async () => {
      const store = await open();
      const bodyOf = (c: Context<{ Bindings: HttpBindings }>): AsyncIterable<Uint8Array> =>
        c.env.incoming.iterator({ destroyOnReturn: false });
      const server = createAdaptorServer({
        fetch: createApp({ layout: openLayout(store), access: "anyone", bodyOf }).fetch,
      });
      await once(server.listen(0, "127.0.0.1"), "listening");
      const S = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const run = async (line: string): Promise<string> => runShell(line, { cwd: folder, env: { S } });
      try {
        await run(begin);
        await run(`jq '.parts |= .[1:3]' upload.json > all.json && mv all.json upload.json`); // as if it had broken off
        await run(send);
        await run(ask);
        expect(await run(`jq -c '[.parts[].present]' upload.json`)).toBe("[false,true,true,false]\n");
        await run(send);
        expect(JSON.parse(await run(load))).toMatchObject({
          images: [{ repository: "team/app", reference: "1.4", digest: layout.digest, status: "created" }],
        });
      } finally {
        server.close();
      }
    });
  });
}

describeRecipe("a directory", () => Promise.resolve(new DirectoryStore(join(folder, "images"))));

await describeS3Servers("with a bucket", (server) => {
  describeRecipe(`a bucket on ${server.name}`, () => makeS3Store(server));
});
