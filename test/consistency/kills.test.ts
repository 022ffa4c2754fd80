// A killed process loses no acknowledged write and leaves none half done.
import { onEach } from '../helper.ts'
import { surviveKills } from './kills.ts'

onEach('acknowledged writes survive kill -9', async (t, dialect) => {
  const { faults, figures } = await surviveKills(t, await dialect.create(t), 2)
  t.strictSame(faults, [])
  t.comment(JSON.stringify(figures))
  t.ok(Number(figures.acknowledged) > 0)
})
