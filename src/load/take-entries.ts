/** The reading half of a load: goes through the archive once, hands on its blobs and keeps its index. */
import { type ArchiveEntry, readArchive } from "../archive/read-archive.ts";
import { StowageError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { parseManifest } from "../oci/manifest.ts";
import type { BlobIntake } from "./blob-intake.ts";
import { classifyEntry, isFile } from "./classify-entry.ts";
import { checkLayoutVersion, readLayoutFile } from "./layout-file.ts";
import type { IgnoredEntry } from "./receipt.ts";

/** Of entries that no image needs, so many are listed in a receipt. */
const maxListedEntries = 1000;

/** What an archive holds besides blobs. */
export interface ArchiveContents {
  /** The descriptors of its `index.json`. */
  readonly roots: readonly Descriptor[];
  readonly ignored: readonly IgnoredEntry[];
}

export interface TakeOptions {
  readonly intake: BlobIntake;
  readonly limits: Limits;
}

/**
 * Reads the archive to its end. Its index is looked at only then: its place in the archive is not guaranteed.
 * Throws `ARCHIVE_INVALID`, `INDEX_INVALID`, `LIMIT_EXCEEDED`, or what a blob or a descriptor has wrong.
 */
export async function takeEntries(
  source: AsyncIterable<Uint8Array>,
  { intake, limits }: TakeOptions,
): Promise<ArchiveContents> {
  const ignored: IgnoredEntry[] = [];
  let index: Uint8Array | undefined;
  let layoutFile: Uint8Array | undefined;
  let isDockerArchive = false;
  for await (const entry of readArchive(source, limits)) {
    const role = classifyEntry(entry);
    if (role.kind === "blob") await intake.take({ digest: role.digest, size: entry.size, body: entry.body });
    else if (role.kind === "index.json") index = await readLayoutFile(entry, index, { limits, code: "INDEX_INVALID" });
    else if (role.kind === "oci-layout") {
      layoutFile = await readLayoutFile(entry, layoutFile, { limits, code: "ARCHIVE_INVALID" });
    } else if (role.kind === "other") {
      isDockerArchive ||= entry.path === "manifest.json";
      if (ignored.length < maxListedEntries) ignored.push(ignore(entry));
    }
  }
  if (layoutFile !== undefined) checkLayoutVersion(layoutFile);
  if (index === undefined) throw withoutIndex(isDockerArchive);
  return { roots: parseRoots(index), ignored };
}

function ignore(entry: ArchiveEntry): IgnoredEntry {
  const { path, type } = entry;
  if (!isFile(entry)) return { path, reason: `${type === "unknown" ? "of an unknown type" : `a ${type}`}, not a file` };
  if (path === "manifest.json" || path === "repositories")
    return { path, reason: "says in Docker's way what index.json says" };
  return { path, reason: "not part of an image layout" };
}

function withoutIndex(isDockerArchive: boolean): StowageError {
  const found = isDockerArchive
    ? "only the manifest.json of a docker-archive; it takes an OCI layout, as written by `docker save` of Docker 25 or " +
      "later, `podman save --format oci-archive` or `skopeo copy … oci-archive:…`"
    : "no index.json at its top; expected an OCI image layout";
  return new StowageError("INDEX_INVALID", `Cannot load the archive: found ${found}`);
}

function parseRoots(bytes: Uint8Array): readonly Descriptor[] {
  const index = parseIndex(bytes);
  if (index.kind !== "index")
    throw new StowageError("INDEX_INVALID", "Cannot read index.json: found an image manifest");
  if (index.manifests.length > 0) return index.manifests;
  throw new StowageError("INDEX_INVALID", "Cannot load the archive: its index.json names no image");
}

function parseIndex(bytes: Uint8Array): ReturnType<typeof parseManifest> {
  try {
    return parseManifest(bytes, "index.json");
  } catch (error) {
    if (!(error instanceof StowageError) || error.code !== "MANIFEST_INVALID") throw error;
    throw new StowageError("INDEX_INVALID", error.message, { cause: error });
  }
}
