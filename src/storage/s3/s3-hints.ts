/** What an operator can do about an error of S3 or of the AWS SDK: the setting that mends it. */
import { S3ServiceException } from "@aws-sdk/client-s3";
import { isJsonObject } from "../../oci/json.ts";

/** Begins with `; `, to stand behind the error; empty if there is nothing to say. */
export function s3HintOf(error: unknown, operation: string): string {
  const region = regionOf(error);
  if (region !== undefined) return `; the bucket is in the region ${region}: set AWS_REGION=${region}`;
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

const hints: Readonly<Record<string, string>> = {
  NoSuchBucket: "there is no such bucket, and Stowage does not make one: STOWAGE_STORE or --store names another",
  CredentialsProviderError: `set ${keys}, or AWS_PROFILE`,
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

/** Told in a header where the bucket is elsewhere (301), and in the body where the signature is for another (400). */
function regionOf(error: unknown): string | undefined {
  if (!(error instanceof S3ServiceException)) return undefined;
  const told = isJsonObject(error.$response?.headers) ? error.$response.headers["x-amz-bucket-region"] : undefined;
  const named = "Region" in error ? error.Region : undefined;
  const isElsewhere = error.$metadata.httpStatusCode === 301 || error.name === "AuthorizationHeaderMalformed";
  const region = told ?? named;
  return isElsewhere && typeof region === "string" && /^[a-z0-9-]{2,40}$/.test(region) ? region : undefined;
}
