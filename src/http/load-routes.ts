/** `PUT` or `POST /v1/load[/<name>[:<tag>]]`: loads the tarball in the request's body. */
import type { Context } from "hono";
import { quote, StowageError, brokenOff } from "../errors.ts";
import { parseLoadPath } from "../load/archive-name.ts";
import { checkBodyBytes, parseContentEncoding } from "../load/decode-content.ts";
import { loadArchive } from "../load/load-archive.ts";
import { type LoadOptions, checkName } from "../load/running-load.ts";
import { type Receipt, loadEvent } from "../load/receipt.ts";
import type { ImageName } from "../oci/reference.ts";
import { readableToBytes } from "../streams/readable-stream.ts";
import { WatchedSource } from "../streams/watched-source.ts";
import { authorize, callerName, isAllowed, waiterOf } from "./authentication.ts";
import { contentLengthOf, expectationOf } from "./conditions.ts";
import { copyLoaded, targetsNamed } from "./copy-routes.ts";
import { errorResponse } from "./error-response.ts";
import { loadQuery, readLoadQuery, sendReceipt } from "./load-answer.ts";
import { RequestRecord } from "./request-record.ts";
import { type Route, route } from "./route.ts";
import { type Service, withinLoadSeconds } from "./service.ts";

export function loadRoutes(service: Service): Route[] {
  const load = async (c: Context, name: ImageName | undefined): Promise<Response> => {
    const encoding = parseContentEncoding(c.req.header("Content-Encoding"));
    if (encoding === undefined) return unknownEncoding(c, c.req.header("Content-Encoding"));
    return answerLoad(c, service, {
      name,
      announcedBytes: contentLengthOf(c),
      body: service.watchBody(c, callerName(c)),
      load: async (body, options) => loadArchive(service.layout, body, { ...options, contentEncoding: encoding }),
    });
  };
  const common = { methods: ["PUT", "POST"], needs: "load", query: loadQuery } as const;
  return [
    route({ ...common, path: "/v1/load", answer: (c) => load(c, undefined) }),
    route({ ...common, path: "/v1/load/", answer: (c) => load(c, undefined) }),
    route({ ...common, path: "/v1/load/<image>", answer: (c, { image }) => load(c, parseLoadPath(image)) }),
  ];
}

/** A 415 says which encodings are accepted (RFC 9110, section 15.5.16). */
function unknownEncoding(c: Context, encoding = ""): Response {
  const message = `Cannot take a body with Content-Encoding ${quote(encoding, 100)}: expected gzip, zstd or none`;
  const error = new StowageError("UNSUPPORTED", message, { detail: { found: encoding, expected: ["gzip", "zstd"] } });
  c.error = error; // for the log
  return errorResponse(error, { c, status: 415, headers: { "Accept-Encoding": "gzip, zstd" } });
}

/** A tarball that a client asks to load. */
export interface AskedLoad {
  readonly name: ImageName | undefined;
  /** Bytes of the tarball, if they are known before it is read. */
  readonly announcedBytes: number | undefined;
  /** The request's body. Empty by default. */
  readonly body?: WatchedSource;
  readonly load: (body: AsyncIterable<Uint8Array>, options: LoadOptions) => Promise<Receipt>;
}

/**
 * Loads a tarball and answers with the receipt (`load-answer.ts`). All checks that need no body come first: a client
 * that is refused need not send its body.
 */
export async function answerLoad(c: Context, service: Service, asked: AskedLoad): Promise<Response> {
  const { name, announcedBytes, body = new WatchedSource(readableToBytes(null)), load } = asked;
  checkBodyBytes(announcedBytes ?? 0, service.layout.limits.maxBodyBytes);
  const query = readLoadQuery(c);
  const expects = expectationOf(c);
  checkName({ name, expects });
  const { repair, expiresInMs, copyTo = service.copyAfterLoad } = query;
  // The operator's own targets need no right of the caller.
  const authorizeCopy = (repository?: string): void => {
    if (query.copyTo !== undefined) authorize(c, "copy", repository);
  };
  authorizeCopy(name?.repository);
  const mayPublish = (repository: string): boolean => {
    authorizeCopy(repository);
    return isAllowed(c, "load", repository);
  };
  const caller = callerName(c);
  const targets = copyTo.length === 0 ? undefined : targetsNamed(copyTo, service);
  const loaded = await withinLoadSeconds("the load", service, async (signal) => {
    // A request without the first bytes of its body holds no turn.
    await body.begin(signal).catch((error: unknown) => {
      throw brokenOff("archive", error, 0);
    });
    try {
      return await service.loads.inTurn({ ...waiterOf(c), signal }, async () => {
        const { immutableTags } = service;
        const givesWay = (): boolean => service.loads.isOverdrawn(caller);
        const options = { caller, name, expects, expiresInMs, repair, immutableTags, mayPublish, givesWay, signal };
        const receipt = await load(body, options);
        const id = RequestRecord.of(c)?.id;
        service.report(loadEvent(receipt, { id, caller, key: undefined }));
        const copies = targets && (await copyLoaded(service, targets, receipt.images, { id, caller, signal }));
        return { receipt, copies };
      });
    } finally {
      await body.return();
    }
  });
  return sendReceipt(c, service.answers, loaded, query.verbose);
}
