// What one would write first: the web body that Hono hands out, tar-stream, and for one blob after the other a HEAD, a
// Transform that hashes, and lib-storage with its defaults. The benchmark compares Stowage with it.
import { createHash } from "node:crypto";
import { Readable, Transform } from "node:stream";
import { HeadObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { extract as createExtract } from "tar-stream";

const client = new S3Client({ forcePathStyle: true });
const app = new Hono();

app.put("/v1/load/:name{.+}", async (c) => {
  const extract = createExtract();
  Readable.fromWeb(c.req.raw.body).pipe(extract);
  for await (const entry of extract) {
    const [, hex] = /blobs\/sha256\/([0-9a-f]{64})$/.exec(entry.header.name) ?? [];
    if (hex === undefined) {
      entry.resume();
      continue;
    }
    const target = { Bucket: "bench", Key: `blobs/sha256/${hex}` };
    const present = await client.send(new HeadObjectCommand(target)).catch(() => undefined);
    if (present?.ContentLength === entry.header.size) {
      entry.resume();
      continue;
    }
    const hash = createHash("sha256");
    const Body = entry.pipe(
      new Transform({
        transform: (chunk, _, done) => (hash.update(chunk), done(null, chunk)),
        flush: (done) => done(hash.digest("hex") === hex ? null : new Error(`${hex} has another digest`)),
      }),
    );
    await new Upload({ client, params: { ...target, Body } }).done();
  }
  return c.json({}, 201);
});

serve({ fetch: app.fetch, hostname: "127.0.0.1", port: 0 }, ({ port }) => {
  process.stdout.write(`listens on http://127.0.0.1:${port}\n`);
});
