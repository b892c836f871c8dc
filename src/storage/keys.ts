/**
 * Where everything lies in a store, relative to its prefix:
 *
 *     oci-layout                                      written once the store has passed the probe
 *     index.json                                      index of the default repository
 *     blobs/sha256/<64 hex>                           every blob, shared by all repositories
 *     repositories/<name>/_layout/oci-layout
 *     repositories/<name>/_layout/index.json          index of one named repository
 *     intents/<name>/_layout/<id>                     changes of a repository's index which wait to be merged
 *     staging/<id>                                    unfinished work; a lifecycle rule may expire it
 *     staging/<id>.json                               what was announced of an upload in parts
 *     staging/<id>.<number>                           one of its parts, from 1 on
 *     incoming/…                                      tarballs that others put there, loaded when the bucket says so
 *
 * `_layout` cannot be part of a repository's name, so no name collides with a key. Intents lie apart, so that whoever lists
 * all repositories does not meet those of each.
 */
import { hexOf } from "../oci/digest.ts";
import { defaultRepository } from "../oci/reference.ts";

export const layoutKey = "oci-layout";
export const blobsPrefix = "blobs/sha256/";
export const repositoriesPrefix = "repositories/";
export const stagingPrefix = "staging/";
export const incomingPrefix = "incoming/";

const indexSuffix = "/_layout/index.json";

export function blobKey(digest: string): string {
  return blobsPrefix + hexOf(digest);
}

export function indexKey(repository: string): string {
  return repository === defaultRepository ? "index.json" : `${repositoriesPrefix}${repository}${indexSuffix}`;
}

export function repositoryLayoutKey(repository: string): string {
  return repository === defaultRepository ? layoutKey : `${repositoriesPrefix}${repository}/_layout/oci-layout`;
}

/** With what the keys of all intents of a repository begin. */
export function intentsPrefix(repository: string): string {
  return `intents/${repository}/_layout/`;
}

/** With what all keys of an upload in parts begin. Flat: a directory then keeps no empty folder of each. */
export function uploadPrefix(id: string): string {
  return `${stagingPrefix}${id}.`;
}

export function uploadKey(id: string): string {
  return `${uploadPrefix(id)}json`;
}

export function uploadPartKey(id: string, number: number): string {
  return `${uploadPrefix(id)}${number}`;
}

/** The repository whose index lies under `key`, or undefined if the key is no named repository's index. */
export function repositoryOfIndexKey(key: string): string | undefined {
  return key.startsWith(repositoriesPrefix) && key.endsWith(indexSuffix)
    ? key.slice(repositoriesPrefix.length, -indexSuffix.length)
    : undefined;
}
