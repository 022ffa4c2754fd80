// A killed process loses no acknowledged write and leaves none half done.
import { survivesKills } from './consistency.ts'
import { onEach } from './helper.ts'

onEach('acknowledged writes survive kill -9', async (t, dialect) => {
  const { faults, figures } = await survivesKills(t, await dialect.create(t), 2)
  t.strictSame(faults, [])
  t.comment(JSON.stringify(figures))
  t.ok(Number(figures.acknowledged) > 0)
})
