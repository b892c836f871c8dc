/**
 * The service on Bun, as a program: `bun src/runtimes/bun.ts`. Bun's `node:http` serves it. Measured: its incoming message is
 * as fast as the body of `Bun.serve`, whose reader cannot fill a buffer of its caller.
 */
import { NodeRuntime } from "./node.ts";
import { runProgram } from "./run-service.ts";

await runProgram(new NodeRuntime());
