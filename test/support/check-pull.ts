/** Pulls what a receipt names, as a client does, and compares every byte with its digest. */
import { Buffer } from "node:buffer";
import { expect } from "vitest";
import { createApp } from "../../src/http/app.ts";
import type { ImageReceipt } from "../../src/load/receipt.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { digestLike } from "./bytes.ts";
import { types } from "./layout.ts";
import { openLayout } from "./open-layout.ts";

/** What a client gets from `/v2/<repository>/<path>`; undefined if it is not there. */
export type Pull = (repository: string, path: string) => Promise<Buffer | undefined>;

export function puller(store: ObjectStore): Pull {
  const app = createApp({ layout: openLayout(store), access: "anyone" });
  return async (repository, path) => {
    const answer = await app.request(`/v2/${repository}/${path}`);
    const bytes = Buffer.from(await answer.arrayBuffer());
    if (answer.status === 404) return undefined;
    expect(answer.status, `/v2/${repository}/${path}`).toBe(200);
    return bytes;
  };
}

/** Pulls an image with all below it, as a client does, by its own name. */
export async function checkPull(
  { repository, reference, digest, size, absent }: ImageReceipt,
  pull: Pull,
): Promise<void> {
  const top = await pull(repository, `manifests/${reference}`);
  expect(top && digestLike(digest, top), `${repository}:${reference}`).toBe(digest);
  const missing = new Set<string>();
  const seen = new Set<string>();
  const check = async (named: Named, kind: "manifests" | "blobs"): Promise<void> => {
    const bytes = await pull(repository, `${kind}/${named.digest}`);
    if (bytes === undefined && kind === "manifests") return void missing.add(named.digest);
    if (bytes === undefined && isForeign(named)) return;
    expect(bytes && [digestLike(named.digest, bytes), bytes.length], named.digest).toEqual([named.digest, named.size]);
    if (kind === "blobs" || bytes === undefined || seen.has(named.digest)) return;
    seen.add(named.digest);
    const { manifests, config, layers } = JSON.parse(bytes.toString()) as Partial<Record<string, Named[]>> & {
      readonly config?: Named;
    };
    for (const child of manifests ?? [])
      await check(child, manifestTypes.has(child.mediaType ?? "") ? "manifests" : "blobs");
    for (const blob of [config, ...(layers ?? [])]) if (blob !== undefined) await check(blob, "blobs");
  };
  await check({ digest, size }, "manifests");
  expect([...missing].toSorted()).toEqual((absent ?? []).map((one) => one.digest).toSorted());
}

interface Named {
  readonly mediaType?: string;
  readonly digest: string;
  readonly size: number;
  readonly urls?: readonly unknown[];
}

/** What is named as one of these, or as nothing, is looked for among the manifests. */
const manifestTypes: ReadonlySet<string> = new Set([
  "",
  types.index,
  types.manifest,
  types.dockerList,
  types.dockerManifest,
]);

function isForeign({ mediaType = "", urls = [] }: Named): boolean {
  return /\.(foreign|nondistributable)\./.test(mediaType) && urls.length > 0;
}
