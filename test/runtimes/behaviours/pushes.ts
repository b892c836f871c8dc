/** Images that come blob by blob. */
import { expect } from "vitest";
import { bytesToReadable } from "../../../src/streams/readable-stream.ts";
import { chunksOf, randomBytes } from "../../support/bytes.ts";
import { makeLayout, types } from "../../support/layout.ts";
import { type Behaviour, type Trial, ask, eventually, mebibyte, secrets } from "../trial.ts";

export const pushes: readonly Behaviour[] = [
  {
    name: "a push of blobs whole, as streams and in chunks",
    run: async (trial) => {
      const bytes = Math.min(9 * mebibyte, trial.maxRequestBytes ?? Infinity);
      const layers = [80, 81, 82].map((seed) => randomBytes(bytes, seed));
      const image = makeLayout({ layers });
      for (const [i, [digest, blob]] of [...image.blobs].entries()) {
        if (digest !== image.digest) await [pushWhole, pushStream, pushChunks][i % 3]?.(trial, digest, blob);
      }
      const manifest = "/v2/pushes/app/manifests/1";
      const body = image.blobs.get(image.digest) ?? "";
      const headers = { "Content-Type": types.manifest };
      expect((await ask(trial, manifest, { method: "PUT", headers, body })).status).toBe(201);
      expect((await ask(trial, manifest, { method: "HEAD" })).headers.get("Docker-Content-Digest")).toBe(image.digest);
      for (const [digest, blob] of image.blobs) {
        const pulled = await ask(trial, `/v2/pushes/app/blobs/${digest}`);
        expect(Buffer.compare(pulled.bytes, blob), digest).toBe(0);
      }
      await expectNothingStaged(trial);
    },
  },
  {
    name: "a push that breaks off leaves nothing",
    except: ["lambda"], // the platform takes whole bodies
    run: async (trial) => {
      const blob = randomBytes(9 * mebibyte, 83);
      const session = await begin(trial);
      const controller = new AbortController();
      const broken = async function* (): AsyncGenerator<Uint8Array> {
        yield* chunksOf(blob.subarray(0, 5 * mebibyte), 100_000);
        controller.abort();
        await new Promise(() => undefined);
      };
      await expect(patch(trial, session, broken(), controller.signal)).rejects.toThrow("aborted");
      await expectNothingStaged(trial);
      expect((await ask(trial, session)).status).toBe(204);
      expect((await ask(trial, session, { method: "DELETE" })).status).toBe(204);
    },
  },
];

const ofSession = /^staging\/push\//;

async function begin(trial: Trial): Promise<string> {
  const { status, headers } = await ask(trial, "/v2/pushes/app/blobs/uploads/", { method: "POST" });
  expect(status).toBe(202);
  return headers.get("Location") ?? "";
}

async function end(trial: Trial, session: string, digest: string, body: Uint8Array = Buffer.alloc(0)): Promise<void> {
  const { status, bytes } = await ask(trial, `${session}?digest=${digest}`, { method: "PUT", body });
  expect(status, bytes.toString()).toBe(201);
}

async function pushWhole(trial: Trial, digest: string, blob: Uint8Array): Promise<void> {
  await end(trial, await begin(trial), digest, blob);
}

async function pushStream(trial: Trial, digest: string, blob: Uint8Array): Promise<void> {
  const session = await begin(trial);
  const { status, headers } = await patch(trial, session, chunksOf(blob, 100_000));
  expect([status, headers.get("Range")]).toEqual([202, `0-${blob.length - 1}`]);
  await end(trial, session, digest);
}

async function pushChunks(trial: Trial, digest: string, blob: Uint8Array): Promise<void> {
  const session = await begin(trial);
  const half = Math.floor(blob.length / 2);
  const send = async (start: number, stop: number): Promise<unknown> => {
    const range = { "Content-Range": `${start}-${stop - 1}` };
    const body = blob.subarray(start, stop);
    const { status, headers } = await ask(trial, session, { method: "PATCH", headers: range, body });
    return [status, headers.get("Range")];
  };
  expect(await send(0, half)).toEqual([202, `0-${half - 1}`]);
  expect(await send(0, half)).toEqual([416, `0-${half - 1}`]);
  expect(await send(half, blob.length)).toEqual([202, `0-${blob.length - 1}`]);
  await end(trial, session, digest);
}

/** Sends bytes without announcing their length. */
async function patch(
  { url }: Trial,
  session: string,
  bytes: AsyncGenerator<Uint8Array>,
  signal?: AbortSignal,
): Promise<Response> {
  const headers = { Authorization: `Bearer ${secrets.owner}` };
  const init = { method: "PATCH", headers, body: bytesToReadable(bytes), duplex: "half", signal: signal ?? null };
  return fetch(url + session, init as RequestInit);
}

async function expectNothingStaged({ bucket }: Trial): Promise<void> {
  if (bucket === undefined) return;
  await eventually(async () => {
    const keys = await bucket.keys();
    return !keys.some((key) => ofSession.test(key)) && (await bucket.openUploads()) === 0;
  }, "no session has left an object or an open upload");
}
