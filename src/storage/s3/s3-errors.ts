/** Reads errors of the AWS SDK: which are expected outcomes, and how messages explain the others. */
import { S3ServiceException } from "@aws-sdk/client-s3";
import { StowageError } from "../../errors.ts";
import { isJsonObject } from "../../oci/json.ts";
import type { S3Call, S3Request } from "./s3-request.ts";

/**
 * Is there no such object? A missing bucket is another error, except for HEAD: its answer has no body that could tell
 * them apart.
 */
export function isAbsent(error: unknown): boolean {
  return isNamed(error, "NoSuchKey", "NotFound");
}

/** Did another write come first? 412: the condition does not hold. 409: S3 could not decide it. */
export function isLostRace(error: unknown): boolean {
  const status = statusOf(error);
  return status === 412 || status === 409;
}

/** Is the upload gone? After a lost answer, the reason is that the upload was completed. */
export function isUploadGone(error: unknown): boolean {
  return isNamed(error, "NoSuchUpload");
}

/** Does the store not know a header or an operation, or not take it? */
export function isNotUnderstood(error: unknown): boolean {
  const status = statusOf(error);
  return status === 405 || status === 501 || (status === 400 && !isNamed(error, "RequestTimeout"));
}

/**
 * Does the store say that it does not make such a copy? Reasons are missing rights, an unknown operation, a bucket in
 * another region (301, 400) and a bucket that the credentials do not see.
 */
export function isRefusal(error: unknown): boolean {
  const status = statusOf(error);
  return status === 301 || status === 403 || isNotUnderstood(error) || isNamed(error, "NoSuchBucket");
}

/**
 * Is it unknown whether the request took effect? No answer came, or the answer says so. For example, VersityGW answers
 * 412 to a large body before it has read the body, and closes the connection. A client that still writes never sees
 * that answer. Without credentials the SDK sends nothing.
 */
export function isUndecided(error: unknown): boolean {
  if (nameOf(error) === missingCredentials) return false;
  const status = statusOf(error) ?? 500;
  return status >= 500 || status === 429 || isNamed(error, "RequestTimeout"); // which has status 400
}

/** Did the SDK send the request more than once? The second try of a conditional write fails if the first was done. */
export function wasRetried(error: unknown): boolean {
  return error instanceof S3ServiceException && (error.$metadata.attempts ?? 1) > 1;
}

/** The error `STORE_UNAVAILABLE`, with the request and the store's message. */
export function storeUnavailable(error: unknown, { url, operation, key }: S3Call): StowageError {
  if (error instanceof StowageError) return error;
  const status = statusOf(error);
  const said = status === undefined ? sayingOf(error) : `${status} ${sayingOf(error)}`;
  const message = `${operation} of "${key}" failed at ${url}: ${said}${hintOf(error, operation)}`;
  return new StowageError("STORE_UNAVAILABLE", message, {
    cause: error,
    detail: { store: url, operation, key, ...(status !== undefined && { status }) },
  });
}

/** Throws the signal's reason if it has fired, else `STORE_UNAVAILABLE`. */
export function throwFailure(error: unknown, { call, signal }: Pick<S3Request, "call" | "signal">): never {
  signal?.throwIfAborted();
  throw storeUnavailable(error, call);
}

function isNamed(error: unknown, ...names: readonly string[]): boolean {
  return error instanceof S3ServiceException && names.includes(error.name);
}

function statusOf(error: unknown): number | undefined {
  return error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
}

/** S3's error code, or the system's (such as `ECONNREFUSED`), and then the message. */
function sayingOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "TimeoutError" && error.message.includes("requestTimeout")) return "it did not answer in time";
  const name = "code" in error && typeof error.code === "string" ? error.code : error.name;
  const message = error.message.replaceAll(/\s+/g, " ").replace(/[. ]+$/, "");
  const saysMore = message !== "" && message !== name && message !== "UnknownError";
  return saysMore ? `${name}: ${message}` : name;
}

/** The setting that would fix the error, for the operator. Begins with `; `, or is empty. */
function hintOf(error: unknown, operation: string): string {
  const region = regionOf(error);
  if (region !== undefined)
    return `; the bucket is in the region ${region}: set AWS_REGION=${region}, or region=${region} in its URL`;
  const hint = hints[nameOf(error)] ?? hints[codeOf(error)];
  if (hint !== undefined) return `; ${hint}`;
  if (isForbidden(error) && readOperations.has(operation)) return `; ${hintOfForbidden}`;
  if (error instanceof Error && error.message === "Region is missing") return "; set AWS_REGION";
  if (error instanceof Error && error.message.startsWith("Region not accepted")) return "; is AWS_REGION right?";
  return "";
}

const keys = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
const endpoint = "AWS_ENDPOINT_URL_S3";
const trust = "NODE_EXTRA_CA_CERTS names a file with the certificate to trust";

/** The SDK looks for credentials before its first try. */
const missingCredentials = "CredentialsProviderError";

const hints: Readonly<Record<string, string>> = {
  NoSuchBucket: "there is no such bucket, and Stowage does not make one: STOWAGE_STORE or --store names another",
  [missingCredentials]: `set ${keys}, or AWS_PROFILE`,
  InvalidAccessKeyId: `the store does not know the key: are ${keys} those of this store?`,
  XAdminUserNotFound: `the store does not know the key: are ${keys} those of this store?`, // VersityGW
  SignatureDoesNotMatch: "is AWS_SECRET_ACCESS_KEY right?",
  ExpiredToken: "new credentials are needed: those of AWS_SESSION_TOKEN are over",
  RequestTimeTooSkewed: "the clock of this machine is wrong",
  ECONNREFUSED: `nothing listens there: is ${endpoint} right?`,
  ENOTFOUND: `there is no such host: are ${endpoint} and AWS_REGION right?`,
  EAI_AGAIN: `the name could not be looked up: are ${endpoint} and AWS_REGION right?`,
  EPROTO: `that port speaks no TLS: is ${endpoint} to begin with http://?`,
  ERR_SSL_WRONG_VERSION_NUMBER: `that port speaks no TLS: is ${endpoint} to begin with http://?`,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: `that port speaks no TLS: is ${endpoint} to begin with http://?`,
  DEPTH_ZERO_SELF_SIGNED_CERT: trust,
  SELF_SIGNED_CERT_IN_CHAIN: trust,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: trust,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: trust,
};

const readOperations: ReadonlySet<string> = new Set(["GetObject", "HeadObject"]);
const hintOfForbidden = "S3 also answers so for a missing key if the credentials do not allow s3:ListBucket";

function isForbidden(error: unknown): boolean {
  return error instanceof S3ServiceException && error.$metadata.httpStatusCode === 403;
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

/**
 * The bucket's region. S3 names it in a header if the bucket is in another region (301), and in the body if the
 * signature is for another region (400).
 */
function regionOf(error: unknown): string | undefined {
  if (!(error instanceof S3ServiceException)) return undefined;
  const told = isJsonObject(error.$response?.headers) ? error.$response.headers["x-amz-bucket-region"] : undefined;
  const named = "Region" in error ? error.Region : undefined;
  const isElsewhere = error.$metadata.httpStatusCode === 301 || error.name === "AuthorizationHeaderMalformed";
  const region = told ?? named;
  return isElsewhere && typeof region === "string" && /^[a-z0-9-]{2,40}$/.test(region) ? region : undefined;
}
