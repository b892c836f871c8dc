/** Preloaded (`node --require`): makes the clock of the process wrong by `SKEW_MS`. */
const { now } = Date;
const skewMs = Number(process.env.SKEW_MS);
Date.now = () => now() + skewMs;
