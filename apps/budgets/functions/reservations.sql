-- Holding money before a call, and letting it go. Locks: reservations, runs, counters; each in the order of its ids.

-- A decision: hold `hold_usd` in every watched counter and in the run, or say why not. One statement, one answer:
--   {"verdict": "granted", "answer"}                     held; the answer is kept for a repeated request
--   {"verdict": "replayed", "answer"}                    the same request was answered before
--   {"verdict": "conflict"}                              its id was used for another request
--   {"verdict": "stale"}                                 names, prices, budgets or the key changed: read them again
--   {"verdict": "clock", "now"}                          a watched period does not hold this instant
--   {"verdict": "downgrade", "budgets": [...]}           budgets that allow cheaper models only are used up
--   {"verdict": "refused", "reasons": [...], "budgets": [...], "due": whether expired holds wait to be let go}
CREATE OR REPLACE FUNCTION budgets_reserve(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_org bigint := (p ->> 'org')::bigint;
  v_now timestamptz := clock_timestamp();
  v_hold numeric(38, 12) := (p ->> 'hold_usd')::numeric;
  v_request text := p ->> 'request_id';
  v_run jsonb := NULLIF(p -> 'run', 'null');
  v_stops jsonb := p -> 'stops';
  v_old budgets_reservation;
  v_entered record;
  v_tally budgets_runtally;
  v_root budgets_runtally;
  v_is_new boolean := false;
  v_lease budgets_reservation;
  v_stop budgets_stop;
  v_reasons jsonb := '[]';
  v_budgets jsonb;
  -- An array grows in place; a jsonb is written anew for each budget of 2,000.
  v_shown jsonb[] := '{}';
  v_exceeded jsonb[] := '{}';
  v_over jsonb := '[]';
  v_ids bigint[] := '{}';
  v_full bigint[] := '{}';
  v_due boolean;
  v_counter budgets_counter;
  v_id uuid := uuidv7();
  v_expires timestamptz := v_now + make_interval(secs => (p ->> 'ttl_seconds')::integer);
  v_answer jsonb;
  v_steps integer := 0;
BEGIN
  PERFORM budgets_decision_turn(v_org, false);
  PERFORM 1 FROM organizations_organization o
  JOIN organizations_apikey k ON k.organization_id = o.id AND k.id = (p ->> 'key_id')::bigint
  WHERE o.id = v_org AND o.facts_version = (p ->> 'facts_version')::bigint AND o.state = 'active'
    AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > v_now);
  IF NOT FOUND THEN
    RETURN jsonb_build_object('verdict', 'stale');
  END IF;

  SELECT * INTO v_old FROM budgets_reservation WHERE organization_id = v_org AND request_id = v_request;
  IF FOUND THEN
    IF v_old.decided_at > v_now - interval '1 day' THEN
      -- Another key falls under other budgets: what was held for one is no leave for the other.
      IF v_old.fingerprint <> decode(p ->> 'fingerprint', 'hex') OR v_old.key_id <> (p ->> 'key_id')::bigint THEN
        RETURN jsonb_build_object('verdict', 'conflict');
      END IF;
      RETURN jsonb_build_object('verdict', 'replayed', 'answer', v_old.answer);
    END IF;
    UPDATE budgets_reservation SET request_id = NULL
    WHERE organization_id = v_org AND reservation_id = v_old.reservation_id;
  END IF;
  IF EXISTS (
    SELECT FROM jsonb_to_recordset(p -> 'watch') AS w(period_start timestamptz, period_end timestamptz)
    WHERE v_now < w.period_start OR v_now >= w.period_end)
  THEN
    RETURN jsonb_build_object('verdict', 'clock', 'now', v_now);
  END IF;

  IF p ->> 'lease_id' IS NOT NULL THEN
    SELECT * INTO v_lease FROM budgets_reservation
    WHERE organization_id = v_org AND reservation_id = (p ->> 'lease_id')::uuid FOR UPDATE;
    v_id := v_lease.reservation_id;
  END IF;
  IF v_run IS NOT NULL THEN
    SELECT * INTO v_entered FROM budgets_enter_run(v_org, v_now, v_run);
    v_tally := v_entered.run;
    v_root := v_entered.root;
    v_is_new := v_entered.is_new;
  END IF;
  SELECT * INTO v_stop FROM budgets_stop s
  WHERE s.organization_id = v_org AND s.lifted_at IS NULL
    AND (s.kind = 'organization' OR s.target = v_stops ->> s.kind OR s.kind = 'run'
      AND s.target IN (SELECT budgets_lineage(v_org, v_tally.run_id)))
  ORDER BY s.id LIMIT 1;
  IF FOUND THEN
    v_reasons := v_reasons || jsonb_build_object('code', 'stopped', 'stop_id', v_stop.id, 'kind', v_stop.kind,
      'target', v_stop.target, 'because', v_stop.reason, 'stopped_at', v_stop.stopped_at);
  END IF;
  IF v_run IS NOT NULL THEN
    v_reasons := v_reasons || budgets_run_refusals(v_org, v_now, v_run, v_tally, v_root,
      v_entered.parent_children, v_is_new, v_hold);
  END IF;

  SELECT COALESCE(array_agg(o.counter_id), '{}') INTO v_ids FROM budgets_open(v_org, v_now, p -> 'watch') o;
  -- One decision at a time gets as far as a counter's row. Those that wait for a row which the one before them changed
  -- start again on its new version, in no order: with 64 waiting, the last ones take half a second.
  -- Some are enough for that; locks are few, and all tenants share them.
  PERFORM pg_advisory_xact_lock(4017, waiting.key) FROM (
    SELECT DISTINCT (id % 2147483647)::integer AS key FROM unnest(v_ids) AS id ORDER BY key LIMIT 16) AS waiting;
  FOR v_counter IN
    SELECT * FROM budgets_counter WHERE organization_id = v_org AND counter_id = ANY (v_ids)
    ORDER BY counter_id FOR UPDATE
  LOOP
    IF v_counter.limit_until <= v_now THEN
      v_counter := budgets_relimit(v_org, v_counter.counter_id, v_now);
    END IF;
    IF v_counter.spent_usd + v_counter.held_usd + v_hold > v_counter.limit_usd AND NOT (p ->> 'is_free')::boolean THEN
      IF v_counter.is_cap THEN
        v_exceeded := v_exceeded || (jsonb_build_object('code', 'budget_exceeded') || budgets_shown(v_counter));
        v_full := v_full || v_counter.counter_id;
      ELSIF v_counter.budget_id = ANY (ARRAY(SELECT jsonb_array_elements_text(p -> 'downgrades')::bigint)) THEN
        v_over := v_over || budgets_shown(v_counter);
      END IF;
    END IF;
    v_shown := v_shown || budgets_shown(v_counter, v_hold);
  END LOOP;
  v_reasons := v_reasons || to_jsonb(v_exceeded);

  IF p ->> 'lease_id' IS NOT NULL AND (v_lease.state <> 'held' OR v_lease.closed_at IS NOT NULL
    OR v_lease.expires_at <= clock_timestamp() OR NOT (v_lease.counters @> v_ids AND v_ids @> v_lease.counters))
  THEN
    v_reasons := v_reasons || jsonb_build_object('code', 'lease_over', 'expires_at', v_lease.expires_at);
  END IF;

  IF v_over <> '[]' THEN
    PERFORM budgets_leave_run(v_org, v_tally, v_is_new);
    RETURN jsonb_build_object('verdict', 'downgrade', 'budgets', v_over);
  END IF;
  IF v_reasons <> '[]' THEN
    PERFORM budgets_leave_run(v_org, v_tally, v_is_new);
    v_due := EXISTS (
      SELECT FROM budgets_reservation
      WHERE organization_id = v_org AND state = 'held' AND release_at <= v_now);
    -- Where expired holds are let go of first, this is not the last word.
    IF NOT (v_due AND (p ->> 'may_free')::boolean) THEN
      PERFORM budgets_refused(v_org, v_now, v_full, v_hold);
    END IF;
    SELECT COALESCE(jsonb_agg(budgets_shown(c) ORDER BY c.counter_id), '[]') INTO v_budgets
    FROM budgets_counter c WHERE c.organization_id = v_org AND c.counter_id = ANY (v_ids);
    RETURN jsonb_build_object('verdict', 'refused', 'reasons', v_reasons, 'budgets', v_budgets,
      'crossed', budgets_crossed(v_org), 'due', v_due);
  END IF;

  IF v_run IS NOT NULL THEN
    v_steps := budgets_steps_of(v_org, v_run);
  END IF;
  v_answer := (p -> 'answer') || jsonb_build_object('reservation_id', v_id, 'expires_at', v_expires,
    'decided_at', v_now, 'held_usd', v_hold::text, 'budgets', to_jsonb(v_shown));
  IF p ->> 'kind' <> 'call' AND v_run IS NOT NULL THEN
    v_answer := v_answer || jsonb_build_object('run', budgets_allowance(v_org, v_now, v_run, v_tally,
      v_root));
  END IF;
  -- Waits for a twin of this request, which by now waits for nobody: nothing was changed here yet.
  INSERT INTO budgets_reservation (organization_id, reservation_id, kind, state, request_id, fingerprint, key_id,
    decided_at, expires_at, release_at, granted_usd, held_usd, counters, run_id, steps, call, answer, overrun_usd,
    is_late)
  VALUES (v_org, CASE WHEN v_lease.reservation_id IS NULL THEN v_id ELSE uuidv7() END, p ->> 'kind',
    CASE WHEN v_lease.reservation_id IS NULL THEN 'held' ELSE 'settled' END, v_request, decode(p ->> 'fingerprint', 'hex'), (p ->> 'key_id')::bigint,
    v_now, v_expires, v_expires + make_interval(secs => (p ->> 'grace_seconds')::integer), v_hold,
    CASE WHEN v_lease.reservation_id IS NULL THEN v_hold ELSE 0 END, v_ids, v_run ->> 'run_id', v_steps, p -> 'call',
    v_answer, 0, false)
  ON CONFLICT (organization_id, request_id) DO NOTHING;
  IF NOT FOUND THEN
    SELECT * INTO v_old FROM budgets_reservation WHERE organization_id = v_org AND request_id = v_request;
    PERFORM budgets_leave_run(v_org, v_tally, v_is_new);
    IF v_old.fingerprint <> decode(p ->> 'fingerprint', 'hex') OR v_old.key_id <> (p ->> 'key_id')::bigint THEN
      RETURN jsonb_build_object('verdict', 'conflict');
    END IF;
    RETURN jsonb_build_object('verdict', 'replayed', 'answer', v_old.answer);
  END IF;
  IF v_lease.reservation_id IS NOT NULL THEN
    UPDATE budgets_reservation SET held_usd = held_usd + v_hold, granted_usd = granted_usd + v_hold,
      steps = steps + v_steps, expires_at = v_expires,
      release_at = v_expires + make_interval(secs => (p ->> 'grace_seconds')::integer)
    WHERE organization_id = v_org AND reservation_id = v_lease.reservation_id;
  END IF;
  IF v_hold > 0 THEN
    UPDATE budgets_counter SET held_usd = held_usd + v_hold
    WHERE organization_id = v_org AND counter_id = ANY (v_ids);
  END IF;
  IF v_run IS NOT NULL THEN
    PERFORM budgets_hold_run(v_org, v_now, v_run, v_tally, v_hold, v_steps);
  END IF;
  RETURN jsonb_build_object('verdict', 'granted', 'answer', v_answer);
END $$;

-- Say once that these counters refused a call.
CREATE OR REPLACE FUNCTION budgets_refused(p_org bigint, p_now timestamptz, p_counters bigint[], p_hold numeric)
RETURNS void LANGUAGE sql AS $$
  INSERT INTO budgets_crossing (organization_id, crossing_id, kind, subject, severity, team, budget_id, crossed_at,
    facts)
  SELECT p_org, uuidv7(), 'refused', c.counter_id::text, 'critical', budgets_team(c, b), b.id, p_now,
    budgets_facts(c, b) || jsonb_build_object('hold_usd', p_hold::text)
  FROM budgets_counter c JOIN budgets_budget b ON b.organization_id = c.organization_id AND b.id = c.budget_id
  WHERE c.organization_id = p_org AND c.counter_id = ANY (p_counters)
  ON CONFLICT (organization_id, kind, subject) DO NOTHING
$$;

-- Decisions share the turn; who makes a budget takes it alone, and so finds every hold of a decision that could not
-- know the budget. Decisions that come later find that facts have changed.
CREATE OR REPLACE FUNCTION budgets_decision_turn(p_org bigint, p_alone boolean)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_key bigint := hashtextextended('budgets_decision_turn', p_org);
BEGIN
  IF p_alone THEN
    PERFORM pg_advisory_xact_lock(v_key);
  ELSE
    PERFORM pg_advisory_xact_lock_shared(v_key);
  END IF;
END $$;

-- A counter as answers show it, with `p_more` held besides.
CREATE OR REPLACE FUNCTION budgets_shown(c budgets_counter, p_more numeric DEFAULT 0)
RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT jsonb_build_object('budget_id', (c).budget_id, 'subject', (c).subject, 'limit_usd', (c).limit_usd::text,
    'spent_usd', (c).spent_usd::text, 'held_usd', ((c).held_usd + p_more)::numeric(38, 12)::text,
    'remaining_usd', GREATEST(0, (c).limit_usd - (c).spent_usd - (c).held_usd - p_more)::numeric(38, 12)::text,
    'resets_at', (c).period_end)
$$;

-- Why a run may not go on: a reason for each bound that one more call would pass.
CREATE OR REPLACE FUNCTION budgets_run_refusals(
  p_org bigint, p_now timestamptz, p_run jsonb, p_tally budgets_runtally, p_root budgets_runtally, p_children integer,
  p_is_new boolean, p_hold numeric)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  v_bounds record;
  v_bound record;
  v_steps integer := budgets_steps_of(p_org, p_run);
  v_attempts bigint := 0;
  v_same bigint := 0;
  v_reasons jsonb := '[]';
BEGIN
  IF p_tally.ended_at IS NOT NULL OR p_root.ended_at IS NOT NULL THEN
    v_reasons := v_reasons || jsonb_build_object('code', 'run_ended', 'run_id', p_root.run_id,
      'ended_at', COALESCE(p_tally.ended_at, p_root.ended_at));
  END IF;
  SELECT * INTO v_bounds FROM budgets_bounds(p_org, p_tally, p_root);
  IF v_bounds.attempts IS NOT NULL AND p_run ->> 'step' IS NOT NULL THEN
    SELECT GREATEST((p_run ->> 'attempt')::bigint, COALESCE(max(count), 0) + 1) INTO v_attempts FROM budgets_runcount
    WHERE organization_id = p_org AND run_id = p_tally.run_id AND kind = 'step' AND name = p_run ->> 'step';
  END IF;
  IF v_bounds.same_tool_calls IS NOT NULL AND p_run ->> 'tool' IS NOT NULL THEN
    SELECT COALESCE(max(count), 0) + 1 INTO v_same FROM budgets_runcount
    WHERE organization_id = p_org AND run_id = p_tally.run_id AND kind = 'tool' AND name = p_run ->> 'tool';
  END IF;
  FOR v_bound IN
    SELECT * FROM (VALUES
      ('cost', v_bounds.cost_usd, p_root.spent_usd + p_root.held_usd + p_hold, p_root.spent_usd >= v_bounds.cost_usd),
      ('steps', v_bounds.steps, p_root.steps + p_root.steps_held + v_steps, p_root.steps >= v_bounds.steps),
      ('attempts', v_bounds.attempts, v_attempts, true),
      ('depth', v_bounds.depth, p_tally.depth, true),
      ('children', v_bounds.children, CASE WHEN p_is_new THEN COALESCE(p_children + 1, 0) ELSE 0 END, true),
      ('seconds', v_bounds.seconds, extract(epoch FROM p_now - p_root.started_at), true),
      ('same_tool_calls', v_bounds.same_tool_calls, v_same, true)
    ) AS b(bound, most, used, is_reached)
    WHERE b.used > b.most AND (b.bound <> 'cost' OR p_hold > 0 OR b.is_reached)
      OR b.bound IN ('cost', 'steps', 'seconds') AND (p_root.reached -> b.bound ->> 'limit')::numeric >= b.most
  LOOP
    v_reasons := v_reasons || (jsonb_build_object('code', 'run_' || v_bound.bound, 'run_id', p_root.run_id,
      'limit', v_bound.most::text, 'used', (CASE v_bound.bound WHEN 'cost' THEN p_root.spent_usd
        WHEN 'steps' THEN p_root.steps + p_root.steps_held WHEN 'seconds' THEN trunc(v_bound.used)
        ELSE v_bound.used - 1 END)::text)
      || CASE v_bound.bound WHEN 'cost' THEN jsonb_build_object('held', p_root.held_usd::text) ELSE '{}' END);
    IF v_bound.is_reached THEN
      PERFORM budgets_reach(p_org, p_now, p_tally.run_id, p_root.run_id, v_bound.bound, v_bound.most,
        p_run ->> 'team', p_run ->> 'workflow');
    END IF;
  END LOOP;
  RETURN v_reasons;
END $$;

-- How many steps a decision takes: those of a lease, else 1 unless it is another attempt of a step.
CREATE OR REPLACE FUNCTION budgets_steps_of(p_org bigint, p_run jsonb) RETURNS integer LANGUAGE sql STABLE AS $$
  SELECT CASE
    WHEN p_run ->> 'steps' IS NOT NULL THEN (p_run ->> 'steps')::integer
    WHEN (p_run ->> 'attempt')::bigint > 1 THEN 0
    WHEN p_run ->> 'step' IS NOT NULL AND EXISTS (
      SELECT FROM budgets_runcount WHERE organization_id = p_org AND run_id = p_run ->> 'run_id' AND kind = 'step'
        AND name = p_run ->> 'step') THEN 0
    ELSE 1 END
$$;

CREATE OR REPLACE FUNCTION budgets_hold_run(
  p_org bigint, p_now timestamptz, p_run jsonb, p_tally budgets_runtally, p_hold numeric, p_steps integer)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_is_lease boolean := p_run ->> 'steps' IS NOT NULL;
BEGIN
  UPDATE budgets_runtally SET held_usd = held_usd + p_hold, last_at = p_now,
    steps = steps + CASE WHEN v_is_lease THEN 0 ELSE p_steps END,
    steps_held = steps_held + CASE WHEN v_is_lease THEN p_steps ELSE 0 END
  WHERE organization_id = p_org AND run_id = p_tally.root_run_id;
  UPDATE budgets_runtally SET last_at = p_now
  WHERE organization_id = p_org AND run_id = p_tally.run_id AND run_id <> p_tally.root_run_id;
  IF NOT v_is_lease AND p_run ->> 'step' IS NOT NULL THEN
    PERFORM budgets_count(p_org, p_tally.run_id, 'step', p_run ->> 'step', 1);
  END IF;
  IF NOT v_is_lease AND p_run ->> 'tool' IS NOT NULL THEN
    PERFORM budgets_count(p_org, p_tally.run_id, 'tool', p_run ->> 'tool', 1);
  END IF;
END $$;

-- A run that was only just made by a refused decision is forgotten.
CREATE OR REPLACE FUNCTION budgets_leave_run(p_org bigint, p_tally budgets_runtally, p_is_new boolean)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_is_new AND p_tally.parent_run_id IS NOT NULL THEN
    DELETE FROM budgets_runtally WHERE organization_id = p_org AND run_id = p_tally.run_id;
    UPDATE budgets_runtally SET children = children - 1
    WHERE organization_id = p_org AND run_id = p_tally.parent_run_id;
  END IF;
END $$;

-- What a run may still do, for the holder of a lease; null: no bound.
CREATE OR REPLACE FUNCTION budgets_allowance(
  p_org bigint, p_now timestamptz, p_run jsonb, p_tally budgets_runtally, p_root budgets_runtally)
RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object(
    -- GREATEST would pass over a bound that is not there.
    'cost_remaining_usd', (b.cost_usd - LEAST(b.cost_usd, p_root.spent_usd + p_root.held_usd))::numeric(38, 12)::text,
    'steps', (p_run ->> 'steps')::integer,
    'steps_remaining', b.steps - LEAST(b.steps, p_root.steps + p_root.steps_held),
    'max_attempts', b.attempts, 'max_same_tool_calls', b.same_tool_calls, 'max_depth', b.depth,
    'max_children', b.children,
    'seconds_remaining', b.seconds - LEAST(b.seconds, ceil(extract(epoch FROM p_now - p_root.started_at)))::bigint)
  FROM budgets_bounds(p_org, p_tally, p_root) AS b
$$;

-- Let go of what reservations hold. With `p_due` only those whose time is over, at most `p_limit`, passing over what
-- others hold. How many were let go.
CREATE OR REPLACE FUNCTION budgets_free(p_org bigint, p_ids uuid[], p_state text, p_due boolean, p_limit integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := clock_timestamp();
  v_freed jsonb;
BEGIN
  IF p_due THEN
    SELECT array_agg(d.reservation_id) INTO p_ids FROM (
      SELECT reservation_id FROM budgets_reservation
      WHERE organization_id = p_org AND state = 'held' AND release_at <= v_now
      ORDER BY reservation_id LIMIT p_limit FOR UPDATE SKIP LOCKED) d;
  ELSE
    PERFORM 1 FROM budgets_reservation
    WHERE organization_id = p_org AND reservation_id = ANY (p_ids) ORDER BY reservation_id FOR UPDATE;
  END IF;
  WITH freed AS (
    UPDATE budgets_reservation SET held_usd = 0, closed_at = COALESCE(closed_at, v_now),
      state = CASE WHEN closed_at IS NULL THEN p_state ELSE 'returned' END
    WHERE organization_id = p_org AND reservation_id = ANY (p_ids) AND state = 'held'
    RETURNING kind, old.held_usd AS held, old.steps, counters, run_id)
  SELECT jsonb_agg(to_jsonb(freed)) INTO v_freed FROM freed;
  IF v_freed IS NULL THEN
    RETURN 0;
  END IF;
  PERFORM 1 FROM budgets_runtally WHERE organization_id = p_org AND run_id IN (
    SELECT t.root_run_id FROM budgets_runtally t
    JOIN jsonb_to_recordset(v_freed) AS f(run_id text) ON f.run_id = t.run_id WHERE t.organization_id = p_org)
  ORDER BY run_id COLLATE "C" FOR UPDATE;
  UPDATE budgets_runtally r SET held_usd = r.held_usd - f.held, steps_held = r.steps_held - f.steps
  FROM (
    SELECT t.root_run_id, sum(f.held) AS held,
      COALESCE(sum(f.steps) FILTER (WHERE f.kind = 'lease'), 0) AS steps
    FROM jsonb_to_recordset(v_freed) AS f(kind text, held numeric, steps integer, run_id text)
    JOIN budgets_runtally t ON t.organization_id = p_org AND t.run_id = f.run_id
    GROUP BY t.root_run_id) f
  WHERE r.organization_id = p_org AND r.run_id = f.root_run_id;
  PERFORM budgets_apply(p_org, v_now, (
    SELECT COALESCE(jsonb_agg(jsonb_build_object('counter_id', c.counter_id, 'spent', 0, 'held', -c.held, 'overrun', 0,
      'assumed', 0, 'events', 0, 'unpriced', 0)), '[]')
    FROM (
      SELECT u.counter_id, sum(f.held) AS held
      FROM jsonb_to_recordset(v_freed) AS f(held numeric, counters bigint[]), unnest(f.counters) AS u(counter_id)
      GROUP BY u.counter_id) c
    WHERE c.held > 0));
  RETURN jsonb_array_length(v_freed);
END $$;

-- Hold longer: `expires_at` is now + `p_ttl`, of a hold that is not over. The reservation, null where it is not held.
CREATE OR REPLACE FUNCTION budgets_extend(p_org bigint, p_id uuid, p_ttl integer)
RETURNS timestamptz LANGUAGE sql AS $$
  UPDATE budgets_reservation SET expires_at = clock_timestamp() + make_interval(secs => p_ttl),
    release_at = clock_timestamp() + make_interval(secs => p_ttl)
  WHERE organization_id = p_org AND reservation_id = p_id AND state = 'held' AND kind = 'call'
    AND release_at > clock_timestamp()
  RETURNING expires_at
$$;

-- Give back what no call of a lease has used. The rest stays held until `release_at`, for events on their way.
CREATE OR REPLACE FUNCTION budgets_return(p_org bigint, p_id uuid, p_unused numeric, p_steps integer)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_now timestamptz := clock_timestamp();
  v_lease budgets_reservation;
  v_freed numeric;
  v_steps integer;
BEGIN
  SELECT * INTO v_lease FROM budgets_reservation
  WHERE organization_id = p_org AND reservation_id = p_id AND kind = 'lease' AND state = 'held' AND closed_at IS NULL
  FOR UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  v_freed := LEAST(p_unused, v_lease.held_usd);
  v_steps := LEAST(p_steps, v_lease.steps);
  UPDATE budgets_reservation SET held_usd = held_usd - v_freed, steps = steps - v_steps, closed_at = v_now,
    expires_at = LEAST(expires_at, v_now),
    -- Steps are on their way also where no money is: those that never come are let go of at `release_at`.
    state = CASE WHEN held_usd = v_freed AND steps = v_steps THEN 'returned' ELSE 'held' END
  WHERE organization_id = p_org AND reservation_id = p_id;
  -- Held before the update looks for it: the root may be about to become another one's child.
  PERFORM 1 FROM budgets_runtally r WHERE r.organization_id = p_org AND r.run_id IN (
    SELECT t.root_run_id FROM budgets_runtally t WHERE t.organization_id = p_org AND t.run_id = v_lease.run_id)
  FOR UPDATE;
  UPDATE budgets_runtally r SET held_usd = r.held_usd - v_freed, steps_held = r.steps_held - v_steps
  FROM budgets_runtally t
  WHERE t.organization_id = p_org AND t.run_id = v_lease.run_id AND r.organization_id = p_org
    AND r.run_id = t.root_run_id;
  IF v_freed > 0 THEN
    PERFORM budgets_apply(p_org, v_now, (
      SELECT COALESCE(jsonb_agg(jsonb_build_object('counter_id', c, 'spent', 0, 'held', -v_freed, 'overrun', 0,
        'assumed', 0, 'events', 0, 'unpriced', 0)), '[]') FROM unnest(v_lease.counters) AS c));
  END IF;
END $$;
