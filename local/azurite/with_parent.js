"use strict";
// Preloaded into Azurite's process: it ends when its standard input closes, which happens also when the process that
// started it is killed. Azurite's own handler of SIGTERM writes what it holds to its files.
process.stdin.resume();
process.stdin.once("close", () => {
  if (!process.emit("SIGTERM")) {
    process.exit();
  }
  // A request that hangs does not keep it.
  setTimeout(() => process.exit(), 3000).unref();
});
