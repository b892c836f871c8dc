/**
 * Stores the files of a docker-archive. `manifest.json` says which files an image needs, but it is mostly the last
 * entry. So every file that can be a layer or a config is stored when it comes. An image layout may have other files
 * beside its own. So a wrong file or link is an error only if an image needs it.
 */
import { isZstd } from "../archive/decompress-zstd.ts";
import { isGzip } from "../archive/decompress.ts";
import { folderOf, resolvePath } from "../archive/entry-path.ts";
import type { ArchiveEntry } from "../archive/read-archive.ts";
import type { Digest } from "../digest.ts";
import { StowageError, limitExceeded, quote } from "../errors.ts";
import { digestInName, isLegacyName, isBlobName } from "../oci/docker-manifest.ts";
import { collectBytes, isSameAs } from "../streams/collect-bytes.ts";
import type { BlobIntake } from "./blob-intake.ts";
import { describeType } from "./classify-entry.ts";
import { type IgnoredEntry, maxIgnoredEntries } from "./receipt.ts";

/** Characters of all paths and links that are remembered. */
const maxPathCharacters = 4 * 1024 * 1024;
/** The longest chain of links. Linux has the same limit. */
const maxLinks = 40;
/** Bytes that tell how a layer is compressed. */
export const maxFirstBytes = 4;

interface DockerFile {
  readonly digest: Digest;
  /**
   * How the file is compressed, as its first bytes tell. Keeping the bytes themselves would take 200 bytes of memory
   * for each file.
   */
  readonly compression: Compression;
}

export type Compression = "gzip" | "zstd" | "none";

/** Reads the first four bytes of a layer. */
export function compressionOf(firstBytes: Uint8Array): Compression {
  if (isGzip(firstBytes)) return "gzip";
  return isZstd(firstBytes) ? "zstd" : "none";
}

interface FoundFile {
  /** The path at the end of all links. */
  readonly path: string;
  /** Undefined if the archive has no such file. */
  readonly file: DockerFile | undefined;
}

type Remembered =
  | { readonly kind: "file"; readonly file: DockerFile }
  | { readonly kind: "link"; readonly target: string | undefined }
  | { readonly kind: "unusable"; readonly error: StowageError };

export class DockerFiles {
  readonly #intake: BlobIntake;
  readonly #maxManifestBytes: number;
  readonly #entries = new Map<string, Remembered>();
  readonly #needed = new Set<string>();
  readonly #others: IgnoredEntry[] = [];
  #pathCharacters = 0;
  #hasRepositories = false;
  #manifest: Uint8Array | StowageError | undefined;
  #isBesideLayout = false;

  constructor(intake: BlobIntake, maxManifestBytes: number) {
    this.#intake = intake;
    this.#maxManifestBytes = maxManifestBytes;
  }

  /** Reads an entry that is no part of an image layout. */
  async read(entry: ArchiveEntry): Promise<void> {
    const { type, linkTarget = "" } = entry;
    const path = resolvePath(entry.path);
    const isFile = type === "file" || type === "contiguous-file";
    if (isFile && path === "manifest.json") return this.#readManifest(entry);
    if (this.#isBesideLayout) return;
    if (path === "repositories") this.#hasRepositories = true;
    if (path === undefined || isLegacyName(path)) return;
    if (type === "link") this.#remember(path, { kind: "link", target: resolvePath(linkTarget) });
    else if (type === "symlink") {
      this.#remember(path, { kind: "link", target: resolvePath(linkTarget, folderOf(path)) });
    } else if (isFile && isBlobName(path) && this.#pathCharacters <= maxPathCharacters) {
      this.#remember(path, await this.#storeFile(entry, path));
    } else if (this.#others.length < maxIgnoredEntries) {
      const reason = isFile ? "not part of a docker-archive" : `${describeType(type)}, not a file`;
      this.#others.push({ path: entry.label ?? entry.path, reason });
    }
  }

  /**
   * Forgets all files except `manifest.json`. The archive is a layout, and `manifest.json` may have names for its
   * images.
   */
  forgetFiles(): void {
    this.#isBesideLayout = true;
    this.#entries.clear();
    this.#others.length = 0;
  }

  /** The bytes of `manifest.json`, if there is one that can be read. */
  readableManifest(): Uint8Array | undefined {
    return this.#manifest instanceof StowageError ? undefined : this.#manifest;
  }

  /** The bytes of `manifest.json`. Throws `INDEX_INVALID` if there is none, and `LIMIT_EXCEEDED`. */
  manifest(): Uint8Array {
    if (this.#manifest instanceof StowageError) throw this.#manifest;
    if (this.#manifest !== undefined) return this.#manifest;
    throw this.#hasRepositories ? tooOld() : noManifest();
  }

  /**
   * Finds the file for a path in `manifest.json`. Follows links, also to files that came later. Throws
   * `ARCHIVE_INVALID` if the links lead nowhere, and the error of a file that is wrong.
   */
  find(wanted: string): FoundFile {
    let path = resolvePath(wanted.replace(/^\/+/, "")); // imgutil writes "/" for the top of the archive
    for (let links = 0; links <= maxLinks; links++) {
      if (path === undefined) throw unusablePath(wanted, "it leads out of the archive");
      this.#needed.add(path);
      const found = this.#entries.get(path);
      if (found?.kind === "unusable") throw found.error;
      if (found?.kind !== "link") return { path, file: found?.file };
      path = found.target;
    }
    throw unusablePath(wanted, `more than ${maxLinks} links lead from one to the next`);
  }

  /** Throws `LIMIT_EXCEEDED` if there were more files than are remembered. */
  checkComplete(): void {
    if (this.#pathCharacters <= maxPathCharacters) return;
    const problem = `Cannot load the archive: the paths of its files have ${this.#pathCharacters} characters together or more`;
    throw limitExceeded(problem, { expected: maxPathCharacters });
  }

  /** The files that no image asked for. Links are left out: archives have them for old tools. */
  unneeded(): readonly IgnoredEntry[] {
    const files = [...this.#entries].filter(([path, { kind }]) => kind !== "link" && !this.#needed.has(path));
    const reason = "named by no image in manifest.json";
    return [...this.#others, ...files.map(([path]) => ({ path, reason }))].slice(0, maxIgnoredEntries);
  }

  async #readManifest({ size, body }: ArchiveEntry): Promise<void> {
    if (size > this.#maxManifestBytes) {
      this.#manifest = limitExceeded(`Cannot read manifest.json: it has ${size} bytes`, {
        limit: "maxManifestBytes",
        found: size,
        expected: this.#maxManifestBytes,
      });
      return;
    }
    if (this.#manifest === undefined) this.#manifest = await collectBytes(body, size);
    else if (this.#manifest instanceof Uint8Array && !(await isSameAs(this.#manifest, body))) {
      this.#manifest = new StowageError("INDEX_INVALID", differs("manifest.json"));
    }
  }

  async #storeFile({ size, body }: ArchiveEntry, path: string): Promise<Remembered> {
    const compression = compressionOf(await body.peek(maxFirstBytes));
    try {
      const digest = await this.#intake.storeUnnamed({ claimed: digestInName(path), size, body });
      return { kind: "file", file: { digest, compression } };
    } catch (error) {
      if (error instanceof StowageError && error.code === "DIGEST_INVALID") return { kind: "unusable", error };
      throw error;
    }
  }

  #remember(path: string, entry: Remembered): void {
    this.#pathCharacters += path.length + (entry.kind === "link" ? (entry.target?.length ?? 0) : 0);
    if (this.#pathCharacters > maxPathCharacters) return;
    const before = this.#entries.get(path);
    const isAnother = before !== undefined && before.kind !== "unusable" && !isSame(before, entry);
    const error = new StowageError("ARCHIVE_INVALID", differs(path));
    this.#entries.set(path, isAnother ? { kind: "unusable", error } : (before ?? entry));
  }
}

function isSame(a: Remembered, b: Remembered): boolean {
  if (a.kind === "file") return b.kind === "file" && a.file.digest === b.file.digest;
  return a.kind === "link" && b.kind === "link" && a.target === b.target;
}

function differs(path: string): string {
  return `Cannot take ${quote(path)}: it is in the archive twice, with different content`;
}

function unusablePath(path: string, reason: string): StowageError {
  return new StowageError("ARCHIVE_INVALID", `Cannot find ${quote(path)} in the archive: ${reason}`);
}

function tooOld(): StowageError {
  return new StowageError(
    "UNSUPPORTED",
    "Cannot load the archive: found `repositories` and no manifest.json, as Docker before 1.10 wrote it; " +
      "load it into a newer Docker and save it again",
  );
}

function noManifest(): StowageError {
  return new StowageError(
    "INDEX_INVALID",
    "Cannot load the archive: found no index.json at its top, and no manifest.json; expected an OCI image layout, or a " +
      "docker-archive such as `docker save` writes",
  );
}
