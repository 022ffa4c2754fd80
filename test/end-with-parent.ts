// Loaded by `--import` into a process that a test starts: kills it when the test's process ends, which closes this pipe.
import { Socket } from 'node:net'
import { isMainThread } from 'node:worker_threads'

// Threads load it too. One that ends would close the descriptor, and the next connection of the process would take its number.
if (isMainThread)
  new Socket({ fd: 3 })
    .on('close', () => process.kill(process.pid, 'SIGKILL'))
    .resume()
    .unref()
