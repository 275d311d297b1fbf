// How to remove dead letters for good.
import { useState } from 'preact/hooks'
import { base, change, problemOf, type Problem, type Purge, type Purged } from '../api'
import { plural } from '../format'
import { Fault } from '../parts'
import { inOrder, selection, type Choice } from './letters'

// PurgePanel removes dead letters: a dry run counts them, then their number is typed. What is stored after the dry run stays, and no more than
// the number go, also if workers no longer need some that they needed then.
export function PurgePanel({ of, chosen, picked, total, done }: Choice) {
  const [replayed, setReplayed] = useState(false)
  const [typed, setTyped] = useState('')
  const [counted, setCounted] = useState<{ key: string; options: Purge; purged: Purged }>()
  const [removed, setRemoved] = useState<{ count: number; kept: number; ended: boolean }>()
  const [problem, setProblem] = useState<Problem>()
  const [busy, setBusy] = useState(false)
  const what = inOrder(picked)
  const key = JSON.stringify([what, what ? null : chosen, replayed])
  const ask = (options: Purge) => change<Purged>('POST', `${base(of)}/letters/purge`, options)
  const result = counted?.key === key ? counted : undefined
  const n = result?.purged.removed ?? 0

  const dryRun = async () => {
    setBusy(true); setProblem(undefined); setRemoved(undefined); setTyped(''); setCounted(undefined)
    try {
      const options = { ...selection(chosen, what), replayed, dryRun: true }
      setCounted({ key, options, purged: await ask(options) })
    } catch (e) { setProblem(problemOf(e)) }
    setBusy(false)
  }
  const purge = async ({ options, purged }: { options: Purge; purged: Purged }) => {
    setBusy(true); setProblem(undefined)
    const sum = { count: 0, kept: purged.kept, ended: false }
    try {
      for (let after = 0, more = true; more && sum.count < purged.removed;) { // one request removes some
        const p = await ask({ ...options, dryRun: false, before: purged.last + 1, after, limit: purged.removed - sum.count })
        after = p.last; more = p.more === true
        sum.count += p.removed
        setRemoved({ ...sum })
      }
      sum.ended = true
    } catch (e) { setProblem(problemOf(e)) }
    setRemoved(sum); setCounted(undefined); setTyped(''); setBusy(false)
    done()
  }
  const kept = (k: number) => k > 0 ? ` ${plural(k, 'dead letter')} ${k === 1 ? 'stays' : 'stay'}: workers need ${k === 1 ? 'it' : 'them'} to know how far they are. Newer ones free ${k === 1 ? 'it' : 'them'}.` : ''
  const status = () => {
    if (removed) return <>{removed.ended ? 'Done: ' : problem ? 'Stopped: at least ' : 'Removing: '}<b>{plural(removed.count, 'dead letter')}</b> {removed.count === 1 ? 'is' : 'are'} gone.{removed.ended && kept(removed.kept)}</>
    if (busy) return 'One moment …'
    if (result) return <>Dry run: <b>{plural(n, 'dead letter')}</b> would be removed.{kept(result.purged.kept)}</>
    return 'A dry run counts first, and removes nothing.'
  }
  return <details class="panel purge"><summary>Remove for good</summary>
    <section aria-label="Remove for good">
      <p>{what ? <>The <b>{plural(what.length, 'dead letter')}</b> you ticked.</> : <>All <b>{plural(total, 'dead letter')}</b> of the filter above, or those ticked below.</>} <span class="faint">A removed dead letter cannot be brought back or replayed.</span></p>
      <div class="filters">
        <label class="check"><input type="checkbox" checked={replayed} disabled={busy} onChange={() => setReplayed(!replayed)} /> only those that were replayed</label>
        <button type="button" disabled={busy} onClick={() => void dryRun()}>Count what would go</button>
      </div>
      <p role="status" class={result || removed ? '' : 'faint'}>{status()}</p>
      {result && n > 0 && <form class="filters" onSubmit={(e) => { e.preventDefault(); if (!busy && typed.trim() === String(n)) void purge(result) }}>
        <div class="field"><label for="purge-count">Type {String(n)} to confirm</label><input id="purge-count" inputMode="numeric" autocomplete="off" value={typed} disabled={busy} onInput={(e) => setTyped(e.currentTarget.value)} /></div>
        <button type="submit" class="danger" disabled={busy || typed.trim() !== String(n)}>Remove {plural(n, 'dead letter')}</button>
      </form>}
      {problem && <Fault problem={problem} />}
    </section>
  </details>
}
