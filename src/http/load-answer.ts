/**
 * The answer to a load: the images with their pull commands, and totals. `?verbose=true` adds the result for each blob,
 * the entries that no image needs, and the number of requests to the store.
 */
import type { Context } from "hono";
import { type TargetReceipt, checkCopies } from "../copy/copy-to-targets.ts";
import { StowageError, printableLines, quote } from "../errors.ts";
import { type ImageReceipt, type Receipt, hasChanges } from "../load/receipt.ts";
import { formatReference } from "../oci/reference.ts";
import { lifetimeForm, parseLifetime } from "../settings/parse-quantity.ts";
import type { Answers } from "./answers.ts";
import { publicHost, readFlag } from "./request-url.ts";

/** The query parameters of a load. */
export const loadQuery = ["verbose", "repair", "copyTo", "expires"] as const;

export interface LoadQuery {
  readonly verbose: boolean;
  /** Reads the blobs that the store has, and writes damaged ones again. */
  readonly repair: boolean;
  /** The names of the targets that get the images too. Undefined for those of the settings. */
  readonly copyTo: readonly string[] | undefined;
  /** The images end after this time. Undefined if they have no end. */
  readonly expiresInMs: number | undefined;
}

/** Reads the query of a load. Throws `INPUT_INVALID`. */
export function readLoadQuery(c: Context): LoadQuery {
  return {
    verbose: readFlag(c, "verbose"),
    repair: readFlag(c, "repair"),
    copyTo: c.req.query("copyTo")?.split(","),
    expiresInMs: readExpires(c.req.query("expires")),
  };
}

function readExpires(text: string | undefined): number | undefined {
  const ms = text === undefined ? undefined : parseLifetime(text);
  if (text === undefined || ms !== undefined) return ms;
  throw new StowageError("INPUT_INVALID", `Cannot use expires=${quote(text, 100)}: expected ${lifetimeForm}`);
}

/** A load, and what became of its images in the targets of the settings. */
export interface CopiedLoad {
  readonly receipt: Receipt;
  readonly copies: readonly TargetReceipt[] | undefined;
}

/** 201 if the load has changed anything, else 200. The JSON has line ends, for people who use `curl`. */
export async function sendReceipt(
  c: Context,
  answers: Answers,
  { receipt, copies }: CopiedLoad,
  verbose: boolean,
): Promise<Response> {
  const { totals, ignored, bytes, requests } = receipt;
  const { written, present, repaired } = totals;
  const host = registryHost(c);
  const images =
    host === undefined ? receipt.images : receipt.images.map((image) => ({ ...image, pull: pullCommand(host, image) }));
  const answer = (): unknown => ({
    images,
    totals,
    bytes,
    ...(copies !== undefined && { copies }),
    ...(verbose && { blobs: receipt.blobs, ignored, requests }),
  });
  const maxBytes =
    frameBytes +
    jsonFactor * JSON.stringify([images, copies]).length +
    (verbose ? (written + present + repaired) * blobBytes + jsonFactor * JSON.stringify(ignored).length : 0);
  if (copies !== undefined) checkCopies(copies, { images, totals, bytes, copies });
  return answers.sendText(c, async () => ({
    maxBytes,
    text: () => `${printableLines(JSON.stringify(answer(), undefined, 2))}\n`,
    status: hasChanges(receipt) ? 201 : 200,
    headers: { "Content-Type": "application/json" },
  }));
}

/** Bytes of an answer beside its lists. */
const frameBytes = 1024;
/** Bytes of one blob in its list. */
const blobBytes = 256;
/** White space and escapes make JSON at most this many times as long. */
const jsonFactor = 3;

function pullCommand(host: string, { repository, reference }: ImageReceipt): string {
  return `docker pull ${host}/${formatReference(repository, reference)}`;
}

/** Undefined for a service below a path: registry clients look for `/v2/` only at the root of a host. */
function registryHost(c: Context): string | undefined {
  return new URL(c.req.url).pathname.startsWith("/v1/") ? publicHost(c) : undefined;
}
