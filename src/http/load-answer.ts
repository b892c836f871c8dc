/**
 * What a load answers: the images with the command that pulls each, and totals. With `?verbose=true` also what became of
 * each blob, the entries that no image needs, and how often the load asked the store.
 */
import type { Context } from "hono";
import { Buffer } from "node:buffer";
import { printableLines, quote, StowageError } from "../errors.ts";
import type { BlobStatus } from "../layout/write-blob.ts";
import { type ImageReceipt, type Receipt, hasChanges } from "../load/receipt.ts";
import { formatReference } from "../oci/reference.ts";
import type { Answers } from "./answers.ts";

/** The query parameters of a load. */
export const loadQuery = ["verbose", "repair"] as const;

/** What the query of a load asks for. */
export interface LoadQuery {
  readonly verbose: boolean;
  /** Are blobs that the store has read, and written again if they are damaged? */
  readonly repair: boolean;
}

/** Reads the query of a load. Throws `INPUT_INVALID`. */
export function readLoadQuery(c: Context): LoadQuery {
  return { verbose: readFlag(c, "verbose"), repair: readFlag(c, "repair") };
}

function readFlag(c: Context, name: (typeof loadQuery)[number]): boolean {
  const text = c.req.query(name) ?? "false";
  if (text === "true" || text === "false") return text === "true";
  throw new StowageError("INPUT_INVALID", `Cannot use ${name}=${quote(text, 100)}: expected true or false`);
}

/**
 * 201 if the load has changed anything, else 200. JSON with line ends, as people read it below `curl`. A load may have
 * 100,000 blobs: a large text waits for its memory.
 */
export async function sendReceipt(
  c: Context,
  { receipt, query, answers }: { receipt: Receipt; query: LoadQuery; answers: Answers },
): Promise<Response> {
  return answers.sendText(c, async () => {
    const text = receiptText(c, receipt, query);
    return {
      maxBytes: Buffer.byteLength(text),
      text: () => text,
      status: hasChanges(receipt) ? 201 : 200,
      headers: { "Content-Type": "application/json" },
    };
  });
}

function receiptText(c: Context, receipt: Receipt, { verbose }: LoadQuery): string {
  const { images, blobs, ignored, bytes, requests } = receipt;
  const host = registryHost(c);
  const answer = {
    images: host === undefined ? images : images.map((image) => ({ ...image, pull: pullCommand(host, image) })),
    totals: totalsOf(receipt),
    bytes,
    ...(verbose && { blobs, ignored, requests }),
  };
  return `${printableLines(JSON.stringify(answer, undefined, 2))}\n`;
}

function totalsOf({ images, blobs, ignored }: Receipt): Readonly<Record<string, number>> {
  const count = (status: BlobStatus): number => blobs.filter((blob) => blob.status === status).length;
  return {
    images: images.length,
    written: count("written"),
    present: count("present"),
    repaired: count("repaired"),
    ignored: ignored.length,
  };
}

function pullCommand(host: string, { repository, reference }: ImageReceipt): string {
  return `docker pull ${host}/${formatReference(repository, reference)}`;
}

/**
 * Host and port by which the client reaches the service, a proxy's if there is one in front. Undefined where no client can
 * pull: below a path, since registry clients look for `/v2/` at the root of a host alone.
 */
function registryHost(c: Context): string | undefined {
  const { host, pathname } = new URL(c.req.url);
  if (!pathname.startsWith("/v1/")) return undefined;
  const forwarded = c.req.header("X-Forwarded-Host")?.split(",")[0]?.trim() ?? "";
  return isHost(forwarded) ? forwarded : host;
}

/** The command is copied into shells: only a host, and a port, may stand there. */
function isHost(text: string): boolean {
  return /^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/i.test(text);
}
