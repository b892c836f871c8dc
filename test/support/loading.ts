/** Loads archives of a test into a store, and looks at what is in the store then. */
import { loadArchive } from "../../src/load/load-archive.ts";
import type { LoadOptions } from "../../src/load/running-load.ts";
import type { Receipt } from "../../src/load/receipt.ts";
import type { Limits } from "../../src/limits.ts";
import { parseName } from "../../src/oci/reference.ts";
import type { ObjectStore } from "../../src/storage/object-store.ts";
import { chunksOf, readAll } from "./bytes.ts";
import { type DockerEntry, packEntries } from "./docker-archive.ts";
import { openLayout } from "./open-layout.ts";

export interface LoadBytesOptions extends Omit<LoadOptions, "name"> {
  readonly name?: string;
  readonly limits?: Partial<Limits>;
}

export interface LoadEntriesOptions extends LoadBytesOptions {
  /** In chunks of so many bytes the archive comes. */
  readonly chunkBytes?: number;
}

/** Packs the entries and loads them. */
export async function loadEntries(
  entries: readonly DockerEntry[],
  store: ObjectStore,
  { chunkBytes = 333, ...options }: LoadEntriesOptions = {},
): Promise<Receipt> {
  return loadBytes(chunksOf(await packEntries(entries), chunkBytes), store, options);
}

export async function loadBytes(
  source: AsyncIterable<Uint8Array>,
  store: ObjectStore,
  { name, limits, ...options }: LoadBytesOptions = {},
): Promise<Receipt> {
  const parsed = name === undefined ? undefined : parseName(name);
  return loadArchive(openLayout(store, limits), source, { name: parsed, ...options });
}

/** Sorted. */
export async function keysOf(store: ObjectStore, prefix = ""): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys.toSorted();
}

/** What lies under a key; nothing where there is no object. */
export async function bytesAt(store: ObjectStore, key: string): Promise<Buffer> {
  const object = await store.get(key);
  return object === undefined ? Buffer.from("") : readAll(object.body);
}

/** The store with some of its methods replaced. */
export function decorate(store: ObjectStore, methods: Partial<ObjectStore>): ObjectStore {
  return new Proxy(store, {
    get(target, name) {
      const own: unknown = Reflect.get(methods, name) ?? Reflect.get(target, name);
      return typeof own === "function" ? (own.bind(target) as unknown) : own;
    },
  });
}

/** Counts the bytes of the blobs that are in memory while they are written. */
export function watchPuts(objects: ObjectStore): { readonly store: ObjectStore; readonly mostBytes: number } {
  let now = 0;
  let most = 0;
  const watched = decorate(objects, {
    async put(key, bytes, options) {
      const held = key.startsWith("blobs/") ? bytes.length : 0;
      most = Math.max(most, (now += held));
      await new Promise((resolve) => setTimeout(resolve, 2));
      const result = await objects.put(key, bytes, options);
      now -= held;
      return result;
    },
  });
  return {
    store: watched,
    get mostBytes() {
      return most;
    },
  };
}
