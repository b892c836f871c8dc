/**
 * The keys of all objects in a store, relative to the store's prefix:
 *
 *     oci-layout                                      written once the store has passed the probe
 *     index.json                                      index of the default repository
 *     blobs/<algorithm>/<hex>                         every blob, shared by all repositories
 *     repositories/<name>/_layout/oci-layout
 *     repositories/<name>/_layout/index.json          index of one named repository
 *     intents/<name>/_layout/<id>                     changes of a repository's index that wait to be merged
 *     staging/<id>                                    unfinished work; a gc deletes it after two days
 *     staging/<id>.json                               announcement of an upload in parts
 *     staging/<id>.<number>                           one part of an upload; numbers begin at 1
 *     staging/push/<owner>/<session>/at-<offset>      record of a segment of a pushed blob: the segment begins at this byte
 *     staging/push/<owner>/<session>/<uuid>           the bytes of a segment
 *     staging/export-<64 hex>                         an exported tarball, for a platform whose answers are too small
 *     condemned/<hex>                                 the mark of a blob that a gc is about to delete
 *     condemned-run                                   how far a gc in slices has come
 *     incoming/…                                      tarballs from other tools; a notification of the bucket starts the load
 *
 * `_layout` cannot be part of a repository's name, so no name collides with a key. Intents lie apart, so that a
 * listing of all repositories does not list their intents.
 */
import { type Digest, digestOfHex, digestUnder, hexOf, pathUnder } from "../digest.ts";
import { defaultRepository } from "../oci/reference.ts";

export const layoutKey = "oci-layout";
export const blobsPrefix = "blobs/";
export const repositoriesPrefix = "repositories/";
export const stagingPrefix = "staging/";
export const incomingPrefix = "incoming/";
export const condemnedPrefix = "condemned/";
/** Not below `condemnedPrefix`, because a load counts the objects there. */
export const gcRunKey = "condemned-run";
export const allIntentsPrefix = "intents/";

const indexSuffix = "/_layout/index.json";

export function blobKey(digest: Digest): string {
  return pathUnder(blobsPrefix, digest);
}

/** The digest of the blob under `key`. Undefined if the key is not a blob's key. */
export function digestOfBlobKey(key: string): Digest | undefined {
  return digestUnder(blobsPrefix, key);
}

/** The key of a blob's mark. */
export function markKey(digest: Digest): string {
  return condemnedPrefix + hexOf(digest);
}

/** The digest of the blob whose mark is under `key`. Undefined if the key is not a mark's key. */
export function digestOfMarkKey(key: string): Digest | undefined {
  return key.startsWith(condemnedPrefix) ? digestOfHex(key.slice(condemnedPrefix.length)) : undefined;
}

export function indexKey(repository: string): string {
  return repository === defaultRepository ? "index.json" : `${repositoriesPrefix}${repository}${indexSuffix}`;
}

export function repositoryLayoutKey(repository: string): string {
  return repository === defaultRepository ? layoutKey : `${repositoriesPrefix}${repository}/_layout/oci-layout`;
}

/** The prefix of all intents of a repository. */
export function intentsPrefix(repository: string): string {
  return `${allIntentsPrefix}${repository}/_layout/`;
}

/**
 * The prefix of all keys of an upload in parts. It has no slash: a store in a directory would otherwise keep an empty
 * folder.
 */
export function uploadPrefix(id: string): string {
  return `${stagingPrefix}${id}.`;
}

export function uploadKey(id: string): string {
  return `${uploadPrefix(id)}json`;
}

export function uploadPartKey(id: string, number: number): string {
  return `${uploadPrefix(id)}${number}`;
}

/**
 * The prefix of the keys of all push sessions of a caller. `session` is the id of any of them: each id begins with the
 * same hash of the caller's name.
 */
export function ownerPrefix(session: string): string {
  return `${stagingPrefix}push/${session.slice(0, session.indexOf("-"))}/`;
}

/**
 * The prefix of all keys of a push session. It ends with a slash, so a store in a directory lists one small folder.
 * Without the slash it would read the names of all sessions of the caller.
 */
export function segmentsPrefix(session: string): string {
  return `${ownerPrefix(session)}${session}/`;
}

/** The prefix of the records of all segments of a session. */
export function recordsPrefix(session: string): string {
  return `${segmentsPrefix(session)}at-`;
}

export function segmentKey(session: string, offset: number): string {
  return `${recordsPrefix(session)}${offset}`;
}

/** The offset of the segment whose record is under `key`. Undefined if the key is not a record's key. */
export function offsetOfSegmentKey(key: string, session: string): number | undefined {
  const offset = key.slice(recordsPrefix(session).length);
  return /^\d+$/.test(offset) ? Number(offset) : undefined;
}

/** The key of the bytes of a segment. */
export function segmentDataKey(session: string, id: string): string {
  return `${segmentsPrefix(session)}${id}`;
}

/** The key of an exported tarball. `etag` has 64 hex digits. */
export function exportKey(etag: string): string {
  return `${stagingPrefix}export-${etag}`;
}

/** The repository whose index is under `key`. Undefined if the key is not the key of a named repository's index. */
export function repositoryOfIndexKey(key: string): string | undefined {
  return key.startsWith(repositoriesPrefix) && key.endsWith(indexSuffix)
    ? key.slice(repositoriesPrefix.length, -indexSuffix.length)
    : undefined;
}
