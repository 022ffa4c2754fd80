// Loaded by `--import` into processes that tests start. Kills the process when the test's process ends, which closes this pipe.
import { Socket } from 'node:net'
import { isMainThread } from 'node:worker_threads'

// Threads load this file too. A thread that ends would close the descriptor, and the process's next connection would take its number.
if (isMainThread)
  new Socket({ fd: 3 })
    .on('close', () => process.kill(process.pid, 'SIGKILL'))
    .resume()
    .unref()
