/** `PUT` or `POST /v1/load[/<name>[:<tag>]]`: the request's body is a tarball (the answer: `load-answer.ts`). */
import type { Context } from "hono";
import { quote, StowageError } from "../errors.ts";
import { parseLoadPath } from "../load/archive-name.ts";
import { checkBodyBytes, parseContentEncoding } from "../load/decode-content.ts";
import { type LoadOptions, brokenOff, checkName, loadArchive } from "../load/load-archive.ts";
import { type Receipt, summarize } from "../load/receipt.ts";
import type { ImageName } from "../oci/reference.ts";
import { maxTurnWaitMs } from "../streams/line.ts";
import { readableToBytes } from "../streams/readable-stream.ts";
import { WatchedSource } from "../streams/watched-source.ts";
import { callerName, mayReach } from "./authentication.ts";
import { contentLengthOf, expectationOf } from "./conditions.ts";
import { errorResponse } from "./error-response.ts";
import { loadQuery, readLoadQuery, loadAnswer } from "./load-answer.ts";
import { type Route, route } from "./route.ts";
import { type Service, withinLoadSeconds } from "./service.ts";

export function loadRoutes(service: Service): Route[] {
  const load = async (c: Context, name: ImageName | undefined): Promise<Response> => {
    const encoding = parseContentEncoding(c.req.header("Content-Encoding"));
    if (encoding === undefined) return unknownEncoding(c, c.req.header("Content-Encoding"));
    return answerLoad(c, {
      service,
      name,
      announcedBytes: contentLengthOf(c),
      body: service.bodyOf(c, callerName(c)),
      load: async (body, options) => loadArchive(service.layout, body, { ...options, contentEncoding: encoding }),
    });
  };
  const methods = ["PUT", "POST"];
  return [
    route({ methods, path: "/v1/load", needs: "load", query: loadQuery, answer: (c) => load(c, undefined) }),
    route({ methods, path: "/v1/load/", needs: "load", query: loadQuery, answer: (c) => load(c, undefined) }),
    route({
      methods,
      path: "/v1/load/<image>",
      needs: "load",
      query: loadQuery,
      answer: (c, { image }) => load(c, parseLoadPath(image)),
    }),
  ];
}

/** RFC 9110, 15.5.16: a 415 says which encodings would have been taken. */
function unknownEncoding(c: Context, encoding = ""): Response {
  const message = `Cannot take a body with Content-Encoding ${quote(encoding, 100)}: expected gzip, zstd or none`;
  const error = new StowageError("UNSUPPORTED", message, { detail: { found: encoding, expected: ["gzip", "zstd"] } });
  c.error = error; // for the log
  return errorResponse(error, { status: 415, headers: { "Accept-Encoding": "gzip, zstd" } });
}

export interface AnswerLoadOptions {
  readonly service: Service;
  readonly name: ImageName | undefined;
  /** Bytes of the tarball, where that is known beforehand. */
  readonly announcedBytes: number | undefined;
  /** The request's body. Without it, `load` is given an empty one. */
  readonly body?: WatchedSource;
  readonly load: (body: AsyncIterable<Uint8Array>, options: LoadOptions) => Promise<Receipt>;
}

/**
 * Loads a tarball, as far as the caller may, and answers with what came of it (`load-answer.ts`). What can be known
 * without the body is decided before it is read: a client that is refused need not have sent it.
 */
export async function answerLoad(c: Context, options: AnswerLoadOptions): Promise<Response> {
  const { service, name, announcedBytes, body = new WatchedSource(noBody), load } = options;
  checkBodyBytes(announcedBytes ?? 0, service.layout.limits.maxBodyBytes);
  const query = readLoadQuery(c);
  const expects = expectationOf(c);
  checkName({ name, expects });
  const mayPublish = (repository: string): boolean => mayReach(c, "load", repository);
  const caller = callerName(c);
  const { repair } = query;
  const receipt = await withinLoadSeconds("the load", service, async (signal) => {
    // A request of headers alone holds no turn.
    await body.begin(signal).catch((error: unknown) => {
      throw brokenOff(error, 0);
    });
    try {
      const endTurn = await service.loads.acquire(1, { caller, signal, maxWaitMs: maxTurnWaitMs });
      const { immutableTags } = service;
      const loading = load(body, { caller, name, expects, repair, immutableTags, mayPublish, signal });
      return await loading.finally(endTurn);
    } finally {
      await body.return();
    }
  });
  service.log(`${caller} ${summarize(receipt)}`);
  return loadAnswer(c, receipt, { ...query, answers: service.answers });
}

const noBody: AsyncIterable<Uint8Array> = readableToBytes(null);
