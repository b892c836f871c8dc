/**
 * What a load answers: the images with the command that pulls each, and totals. With `?verbose=true` also what became of
 * each blob, the entries that no image needs, and how often the load asked the store.
 */
import type { Context } from "hono";
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
 * 201 if the load has changed anything, else 200. JSON with line ends, as people read it below `curl`. A large one takes its
 * turn among `answers`: it is in memory until the client has read it.
 */
export async function loadAnswer(
  c: Context,
  receipt: Receipt,
  { verbose, answers }: LoadQuery & { readonly answers: Answers },
): Promise<Response> {
  const { blobs, ignored, bytes, requests } = receipt;
  const host = registryHost(c);
  const images =
    host === undefined ? receipt.images : receipt.images.map((image) => ({ ...image, pull: pullCommand(host, image) }));
  const answer = { images, totals: totalsOf(receipt), bytes, ...(verbose && { blobs, ignored, requests }) };
  const maxBytes =
    frameBytes +
    layoutFactor * JSON.stringify(images).length +
    (verbose ? blobs.length * blobBytes + layoutFactor * JSON.stringify(ignored).length : 0);
  return answers.sendText(c, async () => ({
    maxBytes,
    text: () => `${printableLines(JSON.stringify(answer, undefined, 2))}\n`,
    status: hasChanges(receipt) ? 201 : 200,
    headers: { "Content-Type": "application/json" },
  }));
}

/** Bytes of an answer beside its lists, of a blob in its list, and by how much line ends and escapes make a text longer. */
const frameBytes = 1024;
const blobBytes = 256;
const layoutFactor = 3;

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
