/**
 * Pushes of blobs (distribution specification, "Pushing blobs"):
 *
 *     POST   /v2/<name>/blobs/uploads/                      begins a session
 *     POST   /v2/<name>/blobs/uploads/?digest=<digest>      a whole blob in one request
 *     POST   /v2/<name>/blobs/uploads/?mount=<digest>       201 if the blob is there and the caller may pull it
 *     PATCH  /v2/<name>/blobs/uploads/<session>             one chunk, or a stream of unknown length
 *     GET    /v2/<name>/blobs/uploads/<session>             how many bytes have come
 *     PUT    /v2/<name>/blobs/uploads/<session>?digest=…    the last chunk, if there is one, and the end
 *     DELETE /v2/<name>/blobs/uploads/<session>             cancels a session
 *
 * `push/segments.ts` says what a session leaves in the store.
 */
import type { Context } from "hono";
import { type Digest, algorithmNames, algorithmOf, isAlgorithm, isDigest } from "../digest.ts";
import { quote, StowageError, brokenOff } from "../errors.ts";
import { headBlob } from "../layout/blobs.ts";
import { RescuingStore } from "../layout/rescuing-store.ts";
import type { StoreBlobOptions } from "../layout/store-blob.ts";
import { isRepositoryName, parseDigest, parseRepositoryName } from "../oci/reference.ts";
import { closeSession, pushWhole } from "../push/close-session.ts";
import { type Chunk, appendChunk, checkBlobBytes, dropSession, receivedBytes } from "../push/segments.ts";
import { type PushSession, beginSession, findSession } from "../push/session.ts";
import { ByteReader } from "../streams/byte-reader.ts";
import type { AcquireOptions } from "../streams/line.ts";
import { callerName, isAllowed, requesterOf } from "./authentication.ts";
import { contentLengthOf } from "./conditions.ts";
import { errorResponse } from "./error-response.ts";
import { pathAbove } from "./request-url.ts";
import { type Route, route } from "./route.ts";
import { type Service, withinLoadSeconds } from "./service.ts";

/** A client's chunks should have at least this many bytes, except the last. AWS Lambda takes no more than 4.5 MB. */
const minChunkBytes = 4 * 1024 * 1024;

/**
 * A push that waits longer for its turn is refused. Clients of the specification do not try again soon, so the wait is
 * long.
 */
const maxPushWaitMs = 60_000;

export function pushRoutes(service: Service): Route[] {
  const { layout } = service;
  const find = (c: Context, repository: string, id: string): PushSession =>
    findSession(id, { repository, caller: callerName(c) });
  const common = { path: "/v2/<name>/blobs/uploads/<session>", needs: "load" } as const;
  return [
    route({
      methods: ["POST"],
      path: "/v2/<name>/blobs/uploads/",
      needs: "load",
      query: ["digest", "mount", "from", "digest-algorithm"],
      async answer(c, { name }) {
        const { digest, mount, from } = c.req.query();
        const mounted = await findMount(c, service, { name, mount, from });
        if (mounted !== undefined) return created(c, mounted);
        const size = contentLengthOf(c);
        if (digest !== undefined && size !== undefined && mount === undefined) {
          const claimed = parseDigest(digest);
          await takeChunk(c, service, async ({ body }, options) =>
            pushWhole(layout, { digest: claimed, size, body }, options),
          );
          return created(c, claimed);
        }
        const session = beginSession({ repository: name, caller: callerName(c) }, algorithmFor(c, mount ?? digest));
        return sessionAnswer(c, { session, received: 0, location: `${pathAbove(c, 0)}${session.id}`, status: 202 });
      },
    }),
    route({
      ...common,
      methods: ["PATCH"],
      async answer(c, { name, session: id }) {
        const session = find(c, name, id);
        return answerOutOfOrder(c, session, async () => {
          const received = await takeChunk(c, service, async (chunk, options) =>
            appendChunk(layout, session, chunk, options),
          );
          return sessionAnswer(c, { session, received, location: pathAbove(c, 0), status: 202 });
        });
      },
    }),
    route({
      ...common,
      methods: ["PUT"],
      query: ["digest"],
      async answer(c, { name, session: id }) {
        const session = find(c, name, id);
        const digest = parseDigest(c.req.query("digest") ?? "");
        return answerOutOfOrder(c, session, async () => {
          await takeChunk(c, service, async (chunk, options) =>
            closeSession(layout, session, { ...chunk, digest }, options),
          );
          return created(c, digest);
        });
      },
    }),
    route({
      ...common,
      methods: ["GET"],
      async answer(c, { name, session: id }) {
        const session = find(c, name, id);
        const received = await atTurn(c, service, requesterOf(c).signal, async (options) =>
          receivedBytes(options.store, session, options),
        );
        return sessionAnswer(c, { session, received, location: pathAbove(c, 0), status: 204 });
      },
    }),
    route({
      ...common,
      methods: ["DELETE"],
      async answer(c, { name, session: id }) {
        const session = find(c, name, id);
        await atTurn(c, service, requesterOf(c).signal, async ({ store }) => dropSession(store, session));
        return c.body(null, 204);
      },
    }),
  ];
}

interface WantedMount {
  /** The repository that gets the blob. */
  readonly name: string;
  /** The digest of the blob. */
  readonly mount: string | undefined;
  /** The repository that the client says has the blob. */
  readonly from: string | undefined;
}

/**
 * Finds a blob that the caller may pull: from the repository `from`, else from the one that it pushes to. Returns its
 * digest. No byte moves: all repositories share their blobs.
 */
async function findMount(
  c: Context,
  { layout }: Service,
  { name, mount, from = name }: WantedMount,
): Promise<Digest | undefined> {
  const mayPull = isRepositoryName(from) && isAllowed(c, "pull", parseRepositoryName(from));
  if (!isDigest(mount) || !mayPull) return undefined;
  const found = await headBlob(RescuingStore.forOneBlob(layout), mount, requesterOf(c));
  return found && mount;
}

/** The algorithm that the client asks for, else that of the digest that it names, else SHA-256. */
function algorithmFor(c: Context, digest: string | undefined): PushSession["algorithm"] {
  const asked = c.req.query("digest-algorithm");
  if (asked !== undefined && !isAlgorithm(asked)) {
    throw new StowageError(
      "UNSUPPORTED",
      `Cannot use the digest-algorithm ${quote(asked, 100)}: expected ${algorithmNames.join(" or ")}`,
    );
  }
  return asked ?? (isDigest(digest) ? algorithmOf(digest) : "sha256");
}

/** Does work with the body of a request, at the caller's turn and within the time of a load. */
async function takeChunk<T>(
  c: Context,
  service: Service,
  work: (chunk: Chunk, options: StoreBlobOptions) => Promise<T>,
): Promise<T> {
  const { layout } = service;
  const { start, size } = chunkRange(c);
  checkBlobBytes(size ?? 0, layout);
  const body = service.watchBody(c, callerName(c));
  return withinLoadSeconds("the push", service, async (signal) => {
    try {
      await body.begin(signal).catch((error: unknown) => {
        throw brokenOff("body", error, 0);
      }); // headers alone hold no turn
      return await atTurn(c, service, signal, async (options) => {
        body.watch({
          signal,
          onChunk: ({ length }) => checkBlobBytes(body.bytes + length, layout),
          onFailure: (error) => brokenOff("body", error, body.bytes),
        });
        return work({ start, size, body: new ByteReader(body).stream() }, options);
      });
    } finally {
      await body.return();
    }
  });
}

/** Does work at the caller's turn among the pushes. Work that has begun goes on if its client leaves. */
async function atTurn<T>(
  c: Context,
  service: Service,
  signal: AbortSignal,
  work: (options: StoreBlobOptions) => Promise<T>,
): Promise<T> {
  const { layout, pushes } = service;
  const caller = callerName(c);
  const givesWay = (): boolean => pushes.isOverdrawn(caller);
  return pushes.inTurn(pushWaiterOf(c, signal), async () =>
    work({
      store: RescuingStore.forOneBlob(layout),
      budget: layout.budget,
      hasher: layout.hasher,
      caller,
      signal,
      givesWay,
    }),
  );
}

/** For a wait among the pushes. A client that leaves waits no longer. */
export function pushWaiterOf(c: Context, signal: AbortSignal): AcquireOptions {
  const waiting = AbortSignal.any([signal, c.req.raw.signal]);
  return { caller: callerName(c), signal: waiting, maxWaitMs: maxPushWaitMs };
}

/** `Content-Range: <first>-<last>` of a chunk. Throws `SIZE_INVALID` if `Content-Length` says something else. */
function chunkRange(c: Context): Pick<Chunk, "start" | "size"> {
  const announced = contentLengthOf(c);
  const header = c.req.header("Content-Range");
  if (header === undefined) return { start: undefined, size: announced };
  const [, first, last] = /^(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:\/(?:\d+|\*))?$/.exec(header.trim()) ?? [];
  const [start, size] = [Number(first), Number(last) - Number(first) + 1];
  if (first === undefined || size < 1) {
    throw new StowageError("SIZE_INVALID", `Cannot use Content-Range ${quote(header, 100)}: expected <first>-<last>`);
  }
  if (announced !== undefined && announced !== size) {
    const message = `Cannot take the chunk: its Content-Range has ${size} bytes, its Content-Length ${announced}`;
    throw new StowageError("SIZE_INVALID", message);
  }
  return { start, size };
}

/**
 * Does the work. Answers a chunk that is out of order with the range that is there (distribution specification,
 * "Pushing a blob in chunks").
 */
async function answerOutOfOrder(c: Context, session: PushSession, work: () => Promise<Response>): Promise<Response> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof StowageError) || error.code !== "RANGE_INVALID") throw error;
    const received = error.detail?.["expected"];
    if (typeof received !== "number") throw error;
    c.error = error; // for the log
    return errorResponse(error, { c, headers: sessionHeaders(session, received, pathAbove(c, 0)) });
  }
}

interface SessionState {
  readonly session: PushSession;
  /** Bytes that have come. */
  readonly received: number;
  readonly location: string;
  readonly status: 202 | 204;
}

function sessionAnswer(c: Context, { session, received, location, status }: SessionState): Response {
  return c.body(null, status, sessionHeaders(session, received, location));
}

function sessionHeaders({ id }: PushSession, received: number, location: string): Record<string, string> {
  return {
    Location: location,
    Range: `0-${Math.max(0, received - 1)}`,
    "OCI-Chunk-Min-Length": String(minChunkBytes),
    "Docker-Upload-UUID": id,
  };
}

function created(c: Context, digest: Digest): Response {
  const location = `${pathAbove(c, 3)}/blobs/${digest}`;
  return c.body(null, 201, { Location: location, "Docker-Content-Digest": digest });
}
