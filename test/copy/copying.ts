/** Copies images of a test from one store into another, and looks at what the target has then. */
import { type CopyOptions, type CopyReceipt, copyImages } from "../../src/copy/copy-images.ts";
import { StowageError } from "../../src/errors.ts";
import { planCopy } from "../../src/copy/plan-copy.ts";
import { parseImagePattern, selectImages } from "../../src/copy/select-images.ts";
import type { Layout as OpenLayout } from "../../src/layout/layout.ts";
import { LayoutSource } from "../../src/layout/layout-source.ts";
import type { ImageSource } from "../../src/remote/image-source.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { chunksOf } from "../support/bytes.ts";
import { type Layout, tarOf } from "../support/layout.ts";
import { decorate, keysOf, loadBytes } from "../support/loading.ts";
import { openLayout } from "../support/open-layout.ts";

export interface TestCopy extends Partial<CopyOptions> {
  readonly patterns?: readonly string[];
  readonly latest?: number;
  readonly platforms?: readonly string[];
  readonly referrers?: boolean;
}

/** Loads the layouts into a store, each under the name of its root. */
export async function fill<Store extends ObjectStore>(store: Store, ...layouts: readonly Layout[]): Promise<Store> {
  for (const layout of layouts) await loadBytes(chunksOf(await tarOf(layout), 64 * 1024), store);
  return store;
}

/** A store is opened for this copy alone. */
export async function copyBetween(
  from: ObjectStore | ImageSource,
  to: ObjectStore | OpenLayout,
  copy: TestCopy = {},
): Promise<CopyReceipt> {
  const { patterns = [], latest, platforms = [], referrers = true, ...options } = copy;
  const { signal = new AbortController().signal } = options;
  const source = "listRepositories" in from ? from : new LayoutSource(openLayout(from));
  const selected = await selectImages(source, { patterns: patterns.map(parseImagePattern), latest, referrers, signal });
  const plan = await planCopy(source, selected, { platforms, referrers, signal });
  return copyImages(source, "store" in to ? to : openLayout(to), plan, { ...options, signal });
}

/** `repository:tag digest` and `repository@digest` of all images, sorted. */
export async function imagesOf(store: ObjectStore): Promise<string[]> {
  const source = new LayoutSource(openLayout(store));
  const images: string[] = [];
  for (const repository of await source.listRepositories()) {
    for (const { reference, digest } of await source.listEntries(repository)) {
      images.push(reference === digest ? `${repository}@${digest}` : `${repository}:${reference} ${digest}`);
    }
  }
  return images.toSorted();
}

/** The digests of all blobs, sorted. */
export async function blobsOf(store: ObjectStore): Promise<string[]> {
  return (await keysOf(store, "blobs/")).map((key) => key.slice("blobs/".length).replace("/", ":"));
}

export interface WatchedStore {
  readonly store: ObjectStore;
  /** The keys that were written, copied or deleted, in the order of the answers. */
  readonly writes: string[];
  /** The keys that were read or asked for, and the prefixes that were listed. */
  readonly reads: string[];
}

/** Notes each request of a store. */
export function watch(objects: ObjectStore): WatchedStore {
  const [writes, reads]: [string[], string[]] = [[], []];
  const store = decorate(objects, {
    async put(key, ...rest) {
      const answer = await objects.put(key, ...rest);
      writes.push(key);
      return answer;
    },
    async write(key, ...rest) {
      const answer = await objects.write(key, ...rest);
      writes.push(key);
      return answer;
    },
    async delete(key, ...rest) {
      const answer = await objects.delete(key, ...rest);
      writes.push(key);
      return answer;
    },
    async head(key, ...rest) {
      reads.push(`head ${key}`);
      return objects.head(key, ...rest);
    },
    async get(key, ...rest) {
      reads.push(`get ${key}`);
      return objects.get(key, ...rest);
    },
    list(prefix, ...rest) {
      reads.push(`list ${prefix}`);
      return objects.list(prefix, ...rest);
    },
  });
  return { store, writes, reads };
}

/** A store that copies objects of others by itself, as a bucket does. */
export function copying(objects: ObjectStore): ObjectStore & { readonly copies: string[] } {
  const copies: string[] = [];
  const store = decorate(objects, {
    async copyFrom(source, from, to, { size, condition, signal }) {
      const found = await source.get(from, { signal });
      if (found === undefined) throw new StowageError("STORE_UNAVAILABLE", `"${from}" is not in ${source.url}`);
      if (found.size !== size) throw new StowageError("STORE_DAMAGED", `found ${found.size} bytes, expected ${size}`);
      const result = await objects.write(to, { size, body: found.body }, { condition, signal });
      if (result.outcome === "written") copies.push(to);
      return result;
    },
  });
  return Object.assign(store, { copies });
}

/** Lets something happen, once, before the first blob is written: the copy has looked at the target's tags by then. */
export function beforeBlobs(objects: ObjectStore, act: () => Promise<unknown>): ObjectStore {
  let isDone = false;
  return decorate(objects, {
    async put(key, ...rest) {
      if (key.startsWith("blobs/") && !isDone) {
        isDone = true;
        await act();
      }
      return objects.put(key, ...rest);
    },
  });
}
