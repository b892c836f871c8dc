/** Preloaded (`node --require`): kills the process as a loss of power would, as soon as its first intent lies in a directory. */
const fs = require("node:fs");
const { syncBuiltinESMExports } = require("node:module");

const { link } = fs.promises;
fs.promises.link = async (from, to) => {
  await link(from, to);
  if (String(to).includes("/intents/")) process.kill(process.pid, "SIGKILL");
};
syncBuiltinESMExports();
