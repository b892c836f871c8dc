/** A request that the SDK sends once: where no answer comes, its own next try could take effect long after the first. */
import { type DeleteObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";

type Command = PutObjectCommand | DeleteObjectCommand;

/**
 * Makes the SDK's second try of this command fail before it is sent. Send it with `onceOptions`: without any the SDK takes
 * the middleware of an earlier command of this kind.
 */
export function onlyOnce<C extends Command>(command: C): C {
  let isSent = false;
  const send = <T>(next: () => T): T => {
    if (isSent) throw new Error("no answer came to a request that is sent only once");
    isSent = true;
    return next();
  };
  const place = { step: "finalizeRequest", name: "onlyOnce", priority: "low" } as const; // after that of the retries
  if (command instanceof PutObjectCommand) {
    command.middlewareStack.add((next) => async (args) => send(async () => next(args)), place);
  } else {
    command.middlewareStack.add((next) => async (args) => send(async () => next(args)), place);
  }
  return command;
}

/** A signal goes with each such command, by the bare client: one of `withSignal` keeps the middleware of earlier commands. */
export function onceOptions(signal: AbortSignal | undefined): { readonly abortSignal?: AbortSignal } {
  return signal === undefined ? {} : { abortSignal: signal };
}
