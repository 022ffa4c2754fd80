// A process that is killed in the midst of writes has lost nothing that it acknowledged, and has left nothing half done.
import { survivesKills } from './consistency.ts'
import { onEach } from './helper.ts'

onEach('what was acknowledged is there after kill -9', async (t, dialect) => {
  const { faults, figures } = await survivesKills(t, await dialect.create(t), 2)
  t.strictSame(faults, [])
  t.comment(JSON.stringify(figures))
  t.ok(Number(figures.acknowledged) > 0)
})
