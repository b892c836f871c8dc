/** The bucket of R2 that the suites have, and a look at what a store does with it: R2 itself does not list open uploads. */
import { env } from "cloudflare:workers";
import { type R2Bucket, isR2Bucket } from "../../src/storage/r2/r2-bucket.ts";

type Method = keyof R2Bucket | "uploadPart" | "complete" | "abort";

export interface WatchedBucket {
  readonly bucket: R2Bucket;
  /** How many uploads are neither completed nor aborted. */
  readonly openUploads: () => number;
  /** The most bytes of parts that were under way at once. */
  readonly mostPartBytes: () => number;
  /** How many calls of the method there were. */
  readonly calls: (method: Method) => number;
  /** Lets the next calls of a method do their work and then fail, as when the answer is lost. */
  readonly loseAnswers: (method: Method, count: number) => void;
  /** Lets the next calls of a method fail without doing anything. */
  readonly failCalls: (method: Method, count: number, message: string) => void;
}

export function watchBucket(): WatchedBucket {
  const real = env["IMAGES"];
  if (!isR2Bucket(real)) throw new Error("Cannot find the bucket that vitest.config.ts binds to IMAGES");
  let [open, partBytes, mostPartBytes] = [0, 0, 0];
  const lost = new Map<Method, number>();
  const failing = new Map<Method, { left: number; readonly message: string }>();
  const counts = new Map<Method, number>();

  async function call<T>(method: Method, work: () => Promise<T>): Promise<T> {
    counts.set(method, (counts.get(method) ?? 0) + 1);
    const failure = failing.get(method);
    if (failure !== undefined && failure.left-- > 0) throw new Error(failure.message);
    const answer = await work();
    const losses = lost.get(method) ?? 0;
    lost.set(method, losses - 1);
    if (losses > 0) throw new Error("Network connection lost.");
    return answer;
  }

  const bucket: R2Bucket = {
    head: (...args) => call("head", () => real.head(...args)),
    get: (...args) => call("get", () => real.get(...args)),
    put: (...args) => call("put", () => real.put(...args)),
    list: (...args) => call("list", () => real.list(...args)),
    delete: (...args) => call("delete", () => real.delete(...args)),
    async createMultipartUpload(...args) {
      const upload = await call("createMultipartUpload", () => real.createMultipartUpload(...args));
      open++;
      const end = async <T>(work: Promise<T>): Promise<T> => {
        const result = await work;
        open--;
        return result;
      };
      return {
        uploadPart: async (number, value) => {
          partBytes += value.length;
          mostPartBytes = Math.max(mostPartBytes, partBytes);
          const part = call("uploadPart", () => upload.uploadPart(number, value));
          return part.finally(() => (partBytes -= value.length));
        },
        complete: (parts) => call("complete", () => end(upload.complete(parts))),
        abort: () => call("abort", () => end(upload.abort())),
      };
    },
  };
  return {
    bucket,
    openUploads: () => open,
    mostPartBytes: () => mostPartBytes,
    loseAnswers: (method, count) => void lost.set(method, count),
    failCalls: (method, count, message) => void failing.set(method, { left: count, message }),
    calls: (method) => counts.get(method) ?? 0,
  };
}
