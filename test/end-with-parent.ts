// Loaded by `--import` into a process that a test starts: kills it when the test's process ends, which closes this pipe.
import { Socket } from 'node:net'

new Socket({ fd: 3 })
  .on('close', () => process.kill(process.pid, 'SIGKILL'))
  .resume()
  .unref()
