/** `PUT` or `POST /v1/load[/<name>[:<tag>]]`: the request's body is a tarball, the answer is the receipt. */
import { type Context, Hono } from "hono";
import { StowageError } from "../errors.ts";
import { checkBodyBytes } from "../load/check-body-bytes.ts";
import { parseContentEncoding } from "../load/decode-content.ts";
import { type LoadOptions, loadArchive } from "../load/load-archive.ts";
import { parseLoadPath } from "../load/load-path.ts";
import { type Receipt, hasChanges } from "../load/receipt.ts";
import { type ImageName, formatReference } from "../oci/reference.ts";
import { authorize, callerName, mayReach } from "./authentication.ts";
import { expectationOf } from "./conditions.ts";
import { contentLengthOf } from "./content-length.ts";
import { errorResponse } from "./error-response.ts";
import type { Service } from "./service.ts";
import { withinLoadSeconds } from "./within-load-seconds.ts";

export function loadRoutes(service: Service): Hono {
  const load = async (c: Context, name: ImageName | undefined): Promise<Response> => {
    const encoding = parseContentEncoding(c.req.header("Content-Encoding"));
    if (encoding === undefined) return unknownEncoding(c.req.header("Content-Encoding"));
    return answerLoad(c, {
      service,
      name,
      announcedBytes: contentLengthOf(c),
      load: (options) => loadArchive(service.bodyOf(c), { ...options, contentEncoding: encoding }),
    });
  };
  const routes = new Hono();
  routes.on(["PUT", "POST"], ["/load", "/load/"], (c) => load(c, undefined));
  routes.on(["PUT", "POST"], "/load/:name{.+}", (c) => load(c, parseLoadPath(c.req.param("name"))));
  return routes;
}

/** RFC 9110, 15.5.16: a 415 says which encodings would have been taken. */
function unknownEncoding(encoding: string | undefined): Response {
  const message = `Cannot take a body with Content-Encoding ${JSON.stringify(encoding)}: expected gzip, zstd or none`;
  const error = new StowageError("UNSUPPORTED", message, { detail: { found: encoding, expected: ["gzip", "zstd"] } });
  return errorResponse(error, { status: 415, headers: { "Accept-Encoding": "gzip, zstd" } });
}

export interface AnswerLoadOptions {
  readonly service: Service;
  readonly name: ImageName | undefined;
  /** Bytes of the tarball, where that is known beforehand. */
  readonly announcedBytes: number | undefined;
  readonly load: (options: LoadOptions) => Promise<Receipt>;
}

/**
 * Loads, wherever the tarball comes from, what whoever asks may load, and answers with the receipt. What can be known
 * without the body is decided before it is read: a client that is refused need not have sent it.
 */
export async function answerLoad(c: Context, options: AnswerLoadOptions): Promise<Response> {
  const { service, name, announcedBytes, load } = options;
  authorize(c, "load", name?.repository);
  checkBodyBytes(announcedBytes ?? 0, service.limits.maxBodyBytes);
  const expects = expectationOf(c);
  const mayPublish = (repository: string): boolean => mayReach(c, "load", repository);
  const receipt = await service.slots.run(async () =>
    withinLoadSeconds("the load", service, async (signal) => load({ ...service, name, expects, mayPublish, signal })),
  );
  service.log(`${callerName(c)} ${summary(receipt)}`);
  return c.body(`${JSON.stringify(receipt, undefined, 2)}\n`, hasChanges(receipt) ? 201 : 200, {
    "Content-Type": "application/json",
  });
}

/** Of the images of a load, so many are named in the log. */
const maxNamed = 10;

function summary({ images, bytes }: Receipt): string {
  const names = images.map(
    ({ repository, reference, status }) => `${formatReference(repository, reference)} ${status}`,
  );
  const more = names.length > maxNamed ? ` and ${names.length - maxNamed} more` : "";
  return `loaded ${names.slice(0, maxNamed).join(", ")}${more} (${bytes.written} bytes written, ${bytes.skipped} present)`;
}
