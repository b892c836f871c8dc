/**
 * The package's public interface: the service as a Hono app, loading without a service, and stores by their URLs. Each
 * kind of store has its own entry, so that a bundle for one platform has no code for the others.
 *
 * To read images, send requests of the distribution specification to the app: `createApp(…).request("/v2/…")`.
 */
export type { Access, AccessRules, AccessSource, Action, Grant, OidcRule, Token } from "./auth/access.ts";
export type { Clock } from "./clock.ts";
export { type Digest, isDigest } from "./digest.ts";
export { type ErrorCode, type OciErrorCode, type OwnErrorCode, StowageError } from "./errors.ts";
export type { StowageErrorOptions } from "./errors.ts";
export type { Report, StowageEvent } from "./events.ts";
export { type GarbageOptions, collectGarbage } from "./gc/collect-garbage.ts";
export { type SliceOptions, type SliceReport, collectSlice } from "./gc/collect-slice.ts";
export type { Verdict } from "./gc/judge-entries.ts";
export type { Amount, GarbageReport } from "./gc/tally.ts";
export { type AppOptions, createApp } from "./http/app.ts";
export { type LogFormat, createLog } from "./http/log.ts";
export { Layout, type LayoutOptions } from "./layout/layout.ts";
export { type Limits, defaultLimits } from "./limits.ts";
export type { LoadOptions } from "./load/running-load.ts";
export { loadArchive } from "./load/load-archive.ts";
export type { BlobReceipt, IgnoredEntry, ImageReceipt, Receipt } from "./load/receipt.ts";
export type { BlobStatus } from "./layout/write-blob.ts";
export type { Descriptor } from "./oci/descriptor.ts";
export type { Expectation } from "./oci/index-change.ts";
export type { ImageName } from "./oci/reference.ts";
export type { DropCondition, RetentionRule } from "./settings/parse-retention.ts";
export type { TagPattern } from "./oci/tag-pattern.ts";
export { type OpenStoreOptions, openStore } from "./open-store.ts";
export type { Settings } from "./settings/settings.ts";
export type { RequestCounts } from "./storage/counting-store.ts";
export type {
  ByteRange,
  ByteSource,
  CallOptions,
  CopyOptions,
  CopySource,
  GetOptions,
  ListedObject,
  ObjectInfo,
  ObjectStore,
  Presigner,
  PutCondition,
  PutOptions,
  PutResult,
  SendOptions,
  StoredObject,
  StoreReader,
  Unanswered,
  WriteOptions,
  WriteResult,
} from "./storage/object-store.ts";
export { type ByteChunks, byteStreamToBytes } from "./streams/readable-stream.ts";
