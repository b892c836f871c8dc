/** Where `stowage rm` removes from: a store, in this process, or a service, which is asked to. */
import { deleteImage } from "../registry/delete-image.ts";
import { emptyRepository } from "../registry/empty-repository.ts";
import type { ManifestName } from "../registry/find-manifest.ts";
import { checkOneTarget } from "./arguments.ts";
import type { CommandIo } from "./command.ts";
import { openExisting } from "./open-settings.ts";
import { openService } from "./send/service-client.ts";

export interface RemoveTarget {
  /** Removes the tag, or all that is at the digest; returns the digest, where that is known. */
  remove(image: ManifestName): Promise<string | undefined>;
  /** Removes all images of a repository; returns how many there were. A service cannot be asked for that. */
  empty?(repository: string): Promise<number>;
}

/** The store or service that the options name, else the store of the settings. Throws `INPUT_INVALID`. */
export async function openRemoveTarget(
  options: { readonly store?: string; readonly to?: string },
  io: CommandIo,
): Promise<RemoveTarget> {
  checkOneTarget(options);
  return options.to === undefined ? storeTarget(options.store, io) : serviceTarget(options.to, io);
}

async function storeTarget(storeUrl: string | undefined, { env, signal }: CommandIo): Promise<RemoveTarget> {
  const { layout, immutableTags } = await openExisting({ env, signal }, storeUrl);
  return {
    remove: async (name) => {
      signal.throwIfAborted(); // a change that has begun is finished
      return deleteImage(layout, name, { immutableTags, signal });
    },
    empty: async (repository) => {
      signal.throwIfAborted();
      return emptyRepository(layout, repository, { immutableTags, signal });
    },
  };
}

function serviceTarget(url: string, { env, signal }: CommandIo): RemoveTarget {
  const service = openService(url, { env, purpose: "remove from" });
  return {
    remove: async ({ repository, reference }) => {
      const path = `v2/${repository}/manifests/${reference}`;
      const answer = await service.ask(path, { method: "DELETE", isFirst: true, signal });
      const { status, headers } = answer;
      if (status >= 300) throw service.refused(answer);
      if (status !== 202) throw service.failed(`it answered ${status}, expected 202: is this a Stowage?`);
      const digest = headers["docker-content-digest"];
      return typeof digest === "string" ? digest : undefined;
    },
  };
}
