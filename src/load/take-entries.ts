/** The reading half of a load: goes through the archive once, stores its blobs and keeps its index. */
import { type ArchiveEntry, type ReadArchiveOptions, readArchive } from "../archive/read-archive.ts";
import { StowageError, limitExceeded } from "../errors.ts";
import type { LoadLimits } from "../limits.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { parseManifest } from "../oci/manifest.ts";
import type { BlobIntake } from "./blob-intake.ts";
import {
  checkLayoutVersion,
  classifyEntry,
  describeType,
  isAmongBlobs,
  isFile,
  readLayoutFile,
} from "./classify-entry.ts";
import { DockerFiles } from "./docker-files.ts";
import { type IgnoredEntry, maxIgnoredEntries } from "./receipt.ts";

/** The most bytes of an `oci-layout`. The file holds only a version. */
const maxLayoutFileBytes = 4096;

/** The most images in one `index.json`. The receipt lists each of them. */
const maxRoots = 10_000;

/** What an archive holds besides blobs. */
interface ArchiveContents {
  /** The bytes of `index.json`. */
  readonly index: Uint8Array | undefined;
  /**
   * Is there an index, and an `oci-layout` or blobs beside it? A docker-archive may have an `index.json` of its own.
   */
  readonly isLayout: boolean;
  /** The files of a docker-archive. Of a layout: only the `manifest.json` beside it. */
  readonly dockerFiles: DockerFiles;
  /** The entries that are ignored if the archive is a layout. */
  readonly ignored: readonly IgnoredEntry[];
}

/**
 * Reads the archive to its end. The index may come anywhere, so its bytes are kept and parsed after the last entry. An
 * archive is an image layout once it has an index and either a blob or an `oci-layout`. Before then, it may still be a
 * docker-archive. Throws `ARCHIVE_INVALID`, `INDEX_INVALID`, `LIMIT_EXCEEDED`, or the error of a wrong blob.
 */
export async function takeEntries(
  source: AsyncIterable<Uint8Array>,
  intake: BlobIntake,
  options: ReadArchiveOptions & LoadLimits,
): Promise<ArchiveContents> {
  const ignored: IgnoredEntry[] = [];
  const dockerFiles = new DockerFiles(intake, options.maxManifestBytes);
  let layoutFile: Uint8Array | undefined;
  let index: Uint8Array | undefined;
  let hasBlobs = false;
  let isLayout = false;
  for await (const entry of readArchive(source, options)) {
    checkFileBytes(entry, options);
    const role = classifyEntry(entry);
    if (role.kind === "blob") await intake.store({ digest: role.digest, size: entry.size, body: entry.body });
    else if (role.kind === "index.json") {
      const allowed = { maxBytes: options.maxManifestBytes, limit: "maxManifestBytes" };
      index = await readLayoutFile(entry, index, { ...allowed, code: "INDEX_INVALID" });
    } else if (role.kind === "oci-layout") {
      const allowed = { maxBytes: maxLayoutFileBytes, code: "ARCHIVE_INVALID" } as const;
      layoutFile = await readLayoutFile(entry, layoutFile, allowed);
    } else if (role.kind !== "directory") {
      if (role.kind === "unusable blob") intake.noteUnusable(entry);
      await dockerFiles.read(entry);
      if (ignored.length < maxIgnoredEntries) ignored.push(ignore(entry));
    }
    hasBlobs ||= isAmongBlobs(entry.path);
    isLayout = index !== undefined && (hasBlobs || layoutFile !== undefined);
    if (isLayout) dockerFiles.forgetFiles();
  }
  if (layoutFile !== undefined) checkLayoutVersion(layoutFile);
  return { index, isLayout, dockerFiles, ignored };
}

/** Limits the size of every file. A file that no image needs is read to its end too. */
function checkFileBytes({ path, size }: ArchiveEntry, { maxBlobBytes }: LoadLimits): void {
  if (size <= maxBlobBytes) return;
  const excess = { limit: "maxBlobBytes", path, found: size, expected: maxBlobBytes };
  throw limitExceeded(`Cannot take "${path}": it has ${size} bytes`, excess);
}

function ignore(entry: ArchiveEntry): IgnoredEntry {
  const { path, type, label } = entry;
  if (!isFile(entry)) return { path: label ?? path, reason: `${describeType(type)}, not a file` };
  if (path === "manifest.json" || path === "repositories")
    return { path, reason: "says in Docker's way what index.json says" };
  return { path, reason: "not part of an image layout" };
}

/**
 * The roots of an archive: the descriptors in its `index.json`. Throws `INDEX_INVALID`, `LIMIT_EXCEEDED`, or the error
 * of a wrong descriptor.
 */
export function parseRoots(bytes: Uint8Array): readonly Descriptor[] {
  const index = parseIndex(bytes);
  if (index.kind !== "index")
    throw new StowageError("INDEX_INVALID", "Cannot read index.json: found an image manifest");
  const found = index.manifests.length;
  if (found > maxRoots) {
    const problem = `Cannot load the archive: its index.json names ${found} images`;
    throw limitExceeded(problem, { found, expected: maxRoots });
  }
  if (found > 0) return index.manifests;
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
