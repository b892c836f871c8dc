/**
 * Preloaded (`node --require`): an hour of the process takes a minute. The clock meets the true one at `CLOCK_MEETS_MS`. Before that
 * it is behind, so that no file looks older than it is.
 */
const { now } = Date;
const meetsMs = Number(process.env.CLOCK_MEETS_MS);
Date.now = () => Math.floor(meetsMs - (meetsMs - now()) * 60);
