/** Where `stowage ls` looks: in a store, by this process, or at a service, which is asked. */
import { StowageError } from "../../errors.ts";
import type { Layout } from "../../layout/layout.ts";
import { listRepositories } from "../../layout/list-repositories.ts";
import { readManifest } from "../../layout/read-manifest.ts";
import { readRepository } from "../../layout/read-repository.ts";
import type { Descriptor } from "../../oci/descriptor.ts";
import type { Manifest } from "../../oci/manifest.ts";
import { subjectOf, tagOf } from "../../oci/index-entry.ts";
import { blobKey } from "../../storage/keys.ts";
import { readSmallObject } from "../../storage/read-small-object.ts";
import { checkOneTarget } from "../arguments.ts";
import type { CommandIo } from "../command.ts";
import { openExisting } from "../open-settings.ts";
import { serviceSource } from "./service-source.ts";

export interface ImageSource {
  /** For messages. */
  readonly name: string;
  /** The names of all repositories, in order. */
  repositories(): Promise<readonly string[]>;
  /** The images of a repository. Throws `NAME_UNKNOWN`, `STORE_DAMAGED` or `LIMIT_EXCEEDED`. */
  entries(repository: string): Promise<readonly ListedEntry[]>;
  /** What a tag or a digest stands for, without reading more than has to be. Undefined if it is gone. */
  resolve(repository: string, reference: string): Promise<ManifestIdentity | undefined>;
  /** A manifest by tag or digest. Undefined if it is not there, or cannot be read as one. */
  manifest(repository: string, reference: string): Promise<FoundManifest | undefined>;
  /** A small blob, such as a config. Undefined if it is not there, or larger than a manifest may be. */
  smallBlob(repository: string, digest: string): Promise<Uint8Array | undefined>;
}

export interface ManifestIdentity {
  readonly digest: string;
  readonly mediaType: string;
  /** Length of the manifest in bytes. */
  readonly size: number;
}

/** An image as a list has it; a service lists tags alone. */
export interface ListedEntry extends Partial<ManifestIdentity> {
  readonly repository: string;
  /** Its tag, or its digest where it has none. */
  readonly reference: string;
  /** Of a referrer, the digest of what it says something about. */
  readonly subject?: string | undefined;
}

export interface FoundManifest extends ManifestIdentity {
  readonly manifest: Manifest;
}

/** The store or service that the options name, else the store of the settings. Throws `INPUT_INVALID`. */
export async function openImageSource(
  options: { readonly store?: string; readonly to?: string },
  io: CommandIo,
): Promise<ImageSource> {
  checkOneTarget(options);
  if (options.to !== undefined) return serviceSource(options.to, io);
  const { layout } = await openExisting(io, options.store);
  return storeSource(layout, io);
}

function storeSource(layout: Layout, { signal }: CommandIo): ImageSource {
  const { store, limits } = layout;
  const entries = async (repository: string): Promise<readonly ListedEntry[]> => {
    const index = await readRepository(layout, repository, { signal });
    return index.entries.map((entry) => toEntry(repository, entry));
  };
  const resolve = async (repository: string, reference: string): Promise<ManifestIdentity | undefined> => {
    const found = (await entries(repository)).find((it) => it.reference === reference || it.digest === reference);
    return found && isComplete(found) ? found : undefined;
  };
  return {
    name: store.url,
    repositories: async () => listRepositories(layout, { signal }),
    entries,
    resolve,
    async manifest(repository, reference) {
      const digest = reference.includes(":") ? reference : (await resolve(repository, reference))?.digest;
      if (digest === undefined) return undefined;
      const found = await readManifest(layout, { digest }, { signal });
      if (found === undefined) return undefined;
      const { manifest, bytes } = found;
      return { digest, mediaType: manifest.mediaType, size: bytes.length, manifest };
    },
    async smallBlob(_, digest) {
      try {
        const found = await readSmallObject(store, blobKey(digest), { maxBytes: limits.maxManifestBytes, signal });
        return found?.bytes;
      } catch (error) {
        if (error instanceof StowageError && error.code === "LIMIT_EXCEEDED") return undefined;
        throw error;
      }
    },
  };
}

function toEntry(repository: string, entry: Descriptor): ListedEntry {
  const { digest, mediaType, size } = entry;
  return { repository, reference: tagOf(entry) ?? digest, digest, mediaType, size, subject: subjectOf(entry) };
}

/** Does the list itself say what the image is? */
export function isComplete(entry: ListedEntry): entry is ListedEntry & ManifestIdentity {
  return entry.digest !== undefined && entry.mediaType !== undefined && entry.size !== undefined;
}
