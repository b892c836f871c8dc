/**
 * Holds the descriptors of an index or a manifest in little memory: about 50 bytes each. Parsed JSON takes ten times as
 * much. So a load can keep many thousands of descriptors while it asks the store for each one.
 */
import { Buffer } from "node:buffer";
import type { Descriptor } from "../oci/descriptor.ts";
import { packDigest, packedBytes, packedDigestAt, unpackDigest } from "../oci/packed-digest.ts";

/** The largest number of different pairs of a media type and a platform. The platforms of further pairs are dropped. */
const maxKinds = 1000;
/** The largest number of characters of a platform as JSON. A longer platform is dropped. */
const maxPlatformLength = 500;

type Kind = Pick<Descriptor, "mediaType" | "platform">;

/** Keeps the first of several descriptors with the same digest and size. */
export function distinct(descriptors: readonly Descriptor[]): readonly Descriptor[] {
  const byName = new Map<string, Descriptor>();
  for (const descriptor of descriptors) {
    const name = `${descriptor.digest} ${descriptor.size}`;
    if (!byName.has(name)) byName.set(name, descriptor);
  }
  return [...byName.values()];
}

/** Yields each descriptor's digest, size, media type and platform, in order. A very long platform is left out. */
export class DescriptorList implements Iterable<Descriptor> {
  readonly length: number;
  /** The packed digests, one behind the other. */
  readonly #digests: Buffer;
  readonly #sizes: Float64Array;
  /** The place of each descriptor's kind in `#kinds`. */
  readonly #kindOf: Uint16Array;
  readonly #kinds: readonly Kind[];

  constructor(descriptors: readonly Descriptor[]) {
    this.length = descriptors.length;
    this.#digests = Buffer.alloc(descriptors.reduce((sum, { digest }) => sum + packedBytes(digest), 0));
    this.#sizes = new Float64Array(this.length);
    this.#kindOf = new Uint16Array(this.length);
    const kinds = new KindTable();
    let at = 0;
    for (const [i, descriptor] of descriptors.entries()) {
      at += packDigest(descriptor.digest).copy(this.#digests, at);
      this.#sizes[i] = descriptor.size;
      this.#kindOf[i] = kinds.placeOf(descriptor);
    }
    this.#kinds = kinds.all;
  }

  *[Symbol.iterator](): Generator<Descriptor> {
    let at = 0;
    for (let i = 0; i < this.length; i++) {
      const kind = this.#kinds[this.#kindOf[i] ?? 0];
      const packed = packedDigestAt(this.#digests, at);
      at += packed.length;
      yield { mediaType: "", ...kind, digest: unpackDigest(packed), size: this.#sizes[i] ?? 0 };
    }
  }
}

class KindTable {
  readonly all: Kind[] = [];
  readonly #places = new Map<string, number>();

  placeOf({ mediaType, platform }: Descriptor): number {
    const text = platform === undefined ? "" : JSON.stringify(platform);
    const isKept = platform !== undefined && text.length <= maxPlatformLength && this.all.length < maxKinds;
    const kind = isKept ? { mediaType, platform } : { mediaType };
    const key = `${mediaType} ${isKept ? text : ""}`;
    const place = this.#places.get(key) ?? this.all.push(kind) - 1;
    this.#places.set(key, place);
    return place;
  }
}
