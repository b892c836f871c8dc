/** Reads a whole store and reports its problems: damaged blobs, unreadable indexes, images that are not whole. */
import type { Layout } from "../layout/layout.ts";
import { type LackedBlob, type Problem, type VerifyOptions, verifyBlobs } from "./verify-blobs.ts";
import { verifyImages } from "./verify-images.ts";

/** The result for a whole store. `bytes` counts only the blobs that are whole. */
export interface VerifyReport {
  readonly repositories: number;
  /** Tags, and images that are found by digest alone. */
  readonly images: number;
  readonly blobs: number;
  readonly bytes: number;
  /**
   * Blobs that no image needs: this is not a problem. Left out if there are problems, because the needed blobs are not
   * all known then.
   */
  readonly unused?: { readonly blobs: number; readonly bytes: number };
  readonly problems: readonly Problem[];
  /**
   * The missing and damaged blobs of all images. A load with `repair` of a tarball that has these blobs writes them
   * again.
   */
  readonly lacked: readonly LackedBlob[];
}

/** Reads every blob, then every image. Changes nothing. Throws `STORE_UNAVAILABLE` if the store fails. */
export async function verifyStore(layout: Layout, options: VerifyOptions = {}): Promise<VerifyReport> {
  const problems: Problem[] = [];
  const onProblem = (problem: Problem): void => {
    problems.push(problem);
    options.onProblem?.(problem);
  };
  const blobs = await verifyBlobs(layout, { ...options, onProblem });
  const { repositories, images, needed, lacked } = await verifyImages(layout, blobs, { ...options, onProblem });

  const sizes = [...blobs.sizes.values()];
  const unusedSizes = [...blobs.sizes].filter(([digest]) => !needed.has(digest)).map(([, size]) => size);
  return {
    repositories,
    images,
    blobs: sizes.length,
    bytes: sum(sizes),
    ...(problems.length === 0 && { unused: { blobs: unusedSizes.length, bytes: sum(unusedSizes) } }),
    problems,
    lacked,
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
