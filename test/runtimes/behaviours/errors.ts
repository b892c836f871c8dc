/** What cannot be done: the status and code are the same everywhere, and nothing is published. */
import { expect } from "vitest";
import { randomBytes, sha256 } from "../../support/bytes.ts";
import { makeLayout, tarOf, withBadBlob, withoutBlob } from "../../support/layout.ts";
import { zstdFrame } from "../../support/zstd.ts";
import { type Behaviour, ask, limits, load, loaded } from "../trial.ts";

const layout = makeLayout({ layers: [randomBytes(5000, 30)], name: "errors/app:1" });
/** Its layer comes with no tarball: what others have brought would be found. */
const other = makeLayout({ layers: [randomBytes(5000, 32)], name: "errors/app:1" });
/** A zstd frame with a block of the reserved type (RFC 8878, section 3.1.1.2). */
const damagedZstd = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, 0x38, 7, 0, 0);
const unknown = sha256(Buffer.from("nobody has it"));

/** Where an answer before the body's end is lost now and then: the proxy of `wrangler dev` wants it read, and says 500. */
const readBodies = ["workers, R2", "workers, S3"] as const;

export const errors: readonly Behaviour[] = [
  {
    name: "tarballs that are wrong: 400",
    run: async (trial) => {
      const whole = await tarOf(layout);
      for (const [tarball, code] of [
        [randomBytes(3000, 31), "ARCHIVE_INVALID"],
        [new Uint8Array(0), "ARCHIVE_INVALID"],
        [whole.subarray(0, 4000), "ARCHIVE_INVALID"],
        [Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 7), "ARCHIVE_INVALID"], // gzip, a block of the reserved type
        [damagedZstd, "ARCHIVE_INVALID"],
        [zstdFrame(whole).subarray(0, -5), "ARCHIVE_INVALID"], // decoders of some runtimes take it for whole
        [await tarOf(layout, { omit: ["index.json"] }), "INDEX_INVALID"],
        [await tarOf(withBadBlob(layout, layout.layers[0])), "DIGEST_INVALID"],
        [await tarOf(withoutBlob(other, other.layers[0])), "MANIFEST_BLOB_UNKNOWN"],
      ] as const) {
        expect(await load(trial, tarball)).toMatchObject({ status: 400, code });
      }
      expect(await load(trial, whole, "Errors/App")).toMatchObject({ status: 400, code: "NAME_INVALID" });
      expect(await ask(trial, "/v2/errors/app/manifests/1")).toMatchObject({ status: 404, code: "NAME_UNKNOWN" });
    },
  },
  {
    name: "what is not there: 404",
    run: async (trial) => {
      await loaded(trial, await tarOf(makeLayout({ name: "errors/there:1" })));
      for (const [path, code] of [
        ["/v2/errors/nothing/manifests/1", "NAME_UNKNOWN"],
        ["/v2/errors/nothing/tags/list", "NAME_UNKNOWN"],
        ["/v2/errors/there/manifests/2", "MANIFEST_UNKNOWN"],
        [`/v2/errors/there/manifests/${unknown}`, "MANIFEST_UNKNOWN"],
        [`/v2/errors/there/blobs/${unknown}`, "BLOB_UNKNOWN"],
        ["/v1/uploads/0123456789abcdef0123456789abcdef", "BLOB_UPLOAD_UNKNOWN"],
        ["/nothing", "UNSUPPORTED"],
      ] as const) {
        expect(await ask(trial, path)).toMatchObject({ status: 404, code });
      }
    },
  },
  {
    name: "a path of 12,000 bytes: 401 without a token, 414 with one",
    run: async (trial) => {
      for (const path of [`/v2/${"a/".repeat(6000)}manifests/1`, `/v1/load/${"a/".repeat(6000)}b`]) {
        expect(await ask(trial, path, { secret: undefined })).toMatchObject({ status: 401, code: "UNAUTHORIZED" });
        expect(await ask(trial, path)).toMatchObject({ status: 414, code: "LIMIT_EXCEEDED" });
      }
    },
  },
  {
    name: "an error before the body's end arrives",
    except: readBodies,
    run: async (trial) => {
      const body = Buffer.alloc(4_000_000, "no tarball");
      for (let i = 0; i < 3; i++) {
        expect(await load(trial, body)).toMatchObject({ status: 400, code: "ARCHIVE_INVALID" });
      }
    },
  },
  {
    name: "too many entries: 413",
    run: async (trial) => {
      const extra = Array.from({ length: limits.maxEntries }, (_, i) => ({
        name: `file-${i}`,
        bytes: Buffer.from("x"),
      }));
      expect(await load(trial, await tarOf(layout, { extra }))).toMatchObject({ status: 413, code: "LIMIT_EXCEEDED" });
    },
  },
  {
    name: "too large an index: 413",
    except: readBodies,
    run: async (trial) => {
      const large = makeLayout({ root: { annotations: { text: "x".repeat(limits.maxManifestBytes) } } });
      expect(await load(trial, await tarOf(large))).toMatchObject({ status: 413, code: "LIMIT_EXCEEDED" });
    },
  },
];
