/**
 * The service on Bun, as a program: `bun src/runtimes/bun.ts`. It uses Bun's `node:http`. Measured: the incoming
 * message is as fast as the body of `Bun.serve`. (The reader of that body cannot fill a buffer of its caller.)
 */
import { NodeRuntime } from "./node.ts";
import { runProgram } from "./run-service.ts";

await runProgram(new NodeRuntime());
