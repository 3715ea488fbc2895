#!/usr/bin/env node
// An exported disk that hangs keeps a thread of Node's pool for as long as it hangs, so there must be more threads than
// the usual four. The pool gets its size at its first use, which is the loading of the first ES module: this comes
// before that, and is no ES module itself.
process.env['UV_THREADPOOL_SIZE'] ??= '32';
import('../ggated.js').catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
