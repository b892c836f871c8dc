/**
 * Push sessions: the uploads of blobs in the distribution specification ("Pushing blobs"). A session begins without a
 * request to the store. Its id carries a hash of its owner, repository and algorithm. So only the caller that began a
 * session can use it, only for the repository for which it began, and any process can check that. Nobody can guess the
 * id of another caller.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { type Algorithm, isAlgorithm } from "../digest.ts";
import { quote, StowageError } from "../errors.ts";

/** The upload of one blob. */
export interface PushSession {
  /** `<owner, 16 hex>-<uuid>-<32 hex>-<algorithm>`. */
  readonly id: string;
  readonly repository: string;
  /** The algorithm that hashes the blob while it comes. */
  readonly algorithm: Algorithm;
}

interface SessionOwner {
  readonly repository: string;
  /** The name of the caller. */
  readonly caller: string;
}

export function beginSession(owner: SessionOwner, algorithm: Algorithm): PushSession {
  const uuid = crypto.randomUUID();
  return { id: idOf(uuid, algorithm, owner), repository: owner.repository, algorithm };
}

/**
 * The session with this id. Throws `BLOB_UPLOAD_UNKNOWN` if another caller began it, or if it is for another
 * repository.
 */
export function findSession(id: string, owner: SessionOwner): PushSession {
  const [, uuid = "", algorithm = ""] = /^[0-9a-f]{16}-([0-9a-f-]{36})-[0-9a-f]{32}-([a-z0-9]+)$/.exec(id) ?? [];
  if (!isAlgorithm(algorithm) || !isSame(id, idOf(uuid, algorithm, owner))) throw unknownSession(id);
  return { id, repository: owner.repository, algorithm };
}

function unknownSession(id: string): StowageError {
  const message = `Cannot find upload ${quote(id)}: this caller has not begun it in this repository, or it has expired`;
  return new StowageError("BLOB_UPLOAD_UNKNOWN", message);
}

function idOf(uuid: string, algorithm: Algorithm, { repository, caller }: SessionOwner): string {
  const bound = hashOf(JSON.stringify([uuid, algorithm, repository, caller]));
  return `${hashOf(caller).slice(0, 16)}-${uuid}-${bound.slice(0, 32)}-${algorithm}`;
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function isSame(found: string, expected: string): boolean {
  const [a, b] = [new TextEncoder().encode(found), new TextEncoder().encode(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}
