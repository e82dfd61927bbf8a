-- What runs use of their bounds. A run's sums stand on its root, which is found through parents.

-- Find a run's tally, or make it, and hold it, its parent and its root in the order of their ids.
-- `p_run`: {run_id, parent_run_id, workflow_id}. `is_new`: it was made here; `parent_children` are those before it.
CREATE OR REPLACE FUNCTION budgets_enter_run(
  p_org bigint, p_now timestamptz, p_run jsonb,
  OUT run budgets_runtally, OUT root budgets_runtally, OUT parent_children integer, OUT is_new boolean)
LANGUAGE plpgsql AS $$
DECLARE
  v_run_id text := p_run ->> 'run_id';
  v_parent_id text := NULLIF(p_run ->> 'parent_run_id', p_run ->> 'run_id');
  v_parent budgets_runtally;
  v_locked text[];
BEGIN
  IF v_parent_id IS NOT NULL THEN
    INSERT INTO budgets_runtally (organization_id, run_id, root_run_id, depth, started_at, last_at, children, steps,
      steps_held, spent_usd, held_usd, overrun_usd, reached)
    VALUES (p_org, v_parent_id, v_parent_id, 0, p_now, p_now, 0, 0, 0, 0, 0, 0, '{}')
    ON CONFLICT DO NOTHING;
  END IF;
  is_new := false;
  -- A root changes where a parent turns out to have one itself, and another may make the run meanwhile: look again
  -- until what is found is what is held.
  LOOP
    v_locked := ARRAY[v_run_id, v_parent_id] || ARRAY(SELECT t.root_run_id FROM budgets_runtally t
      WHERE t.organization_id = p_org AND t.run_id = ANY (ARRAY[v_run_id, v_parent_id]));
    PERFORM 1 FROM budgets_runtally t
    WHERE t.organization_id = p_org AND t.run_id = ANY (v_locked) ORDER BY t.run_id COLLATE "C" FOR UPDATE;
    SELECT t.* INTO v_parent FROM budgets_runtally t
    WHERE t.organization_id = p_org AND t.run_id = v_parent_id;
    SELECT t.* INTO run FROM budgets_runtally t WHERE t.organization_id = p_org AND t.run_id = v_run_id;
    CONTINUE WHEN (COALESCE(v_parent.root_run_id, v_run_id) = ANY (v_locked)) IS NOT TRUE;
    IF run.run_id IS NULL THEN
      INSERT INTO budgets_runtally AS t (organization_id, run_id, parent_run_id, root_run_id, depth, workflow_id,
        started_at, last_at, children, steps, steps_held, spent_usd, held_usd, overrun_usd, reached)
      VALUES (p_org, v_run_id, v_parent_id, COALESCE(v_parent.root_run_id, v_run_id), COALESCE(v_parent.depth + 1, 0),
        (p_run ->> 'workflow_id')::bigint, p_now, p_now, 0, 0, 0, 0, 0, 0, '{}')
      ON CONFLICT DO NOTHING RETURNING t.* INTO run;
      is_new := FOUND;
      CONTINUE WHEN NOT is_new;
    END IF;
    EXIT WHEN run.root_run_id = ANY (v_locked);
  END LOOP;
  parent_children := v_parent.children;
  IF is_new THEN
    UPDATE budgets_runtally t SET children = t.children + 1
    WHERE t.organization_id = p_org AND t.run_id = v_parent_id;
  ELSIF run.parent_run_id IS NULL AND v_parent_id IS NOT NULL AND v_parent.root_run_id <> v_run_id THEN
    run := budgets_adopt(p_org, run, v_parent);
  END IF;
  IF run.workflow_id IS NULL AND p_run ->> 'workflow_id' IS NOT NULL THEN
    UPDATE budgets_runtally t SET workflow_id = (p_run ->> 'workflow_id')::bigint
    WHERE t.organization_id = p_org AND t.run_id = v_run_id RETURNING t.* INTO run;
  END IF;
  SELECT t.* INTO root FROM budgets_runtally t WHERE t.organization_id = p_org AND t.run_id = run.root_run_id;
END $$;

-- A run whose parent was not known until now: it, its children and its sums go to the parent's root.
CREATE OR REPLACE FUNCTION budgets_adopt(p_org bigint, p_run budgets_runtally, p_parent budgets_runtally)
RETURNS budgets_runtally LANGUAGE plpgsql AS $$
DECLARE
  v_run budgets_runtally;
BEGIN
  UPDATE budgets_runtally t SET steps = t.steps + p_run.steps, steps_held = t.steps_held + p_run.steps_held,
    spent_usd = t.spent_usd + p_run.spent_usd, held_usd = t.held_usd + p_run.held_usd,
    overrun_usd = t.overrun_usd + p_run.overrun_usd, started_at = LEAST(t.started_at, p_run.started_at)
  WHERE t.organization_id = p_org AND t.run_id = p_parent.root_run_id;
  UPDATE budgets_runtally t SET children = t.children + 1
  WHERE t.organization_id = p_org AND t.run_id = p_parent.run_id;
  UPDATE budgets_runtally t SET root_run_id = p_parent.root_run_id, depth = t.depth + p_parent.depth + 1
  WHERE t.organization_id = p_org AND t.root_run_id = p_run.run_id;
  UPDATE budgets_runtally t SET parent_run_id = p_parent.run_id, steps = 0, steps_held = 0, spent_usd = 0,
    held_usd = 0, overrun_usd = 0
  WHERE t.organization_id = p_org AND t.run_id = p_run.run_id
  RETURNING t.* INTO v_run;
  RETURN v_run;
END $$;

-- A run and all that it is a child run of.
CREATE OR REPLACE FUNCTION budgets_lineage(p_org bigint, p_run text) RETURNS SETOF text LANGUAGE sql STABLE AS $$
  WITH RECURSIVE lineage AS (
    SELECT t.run_id, t.parent_run_id FROM budgets_runtally t WHERE t.organization_id = p_org AND t.run_id = p_run
    -- Parents make no circle; should they ever, it ends here.
    UNION SELECT t.run_id, t.parent_run_id FROM lineage l
    JOIN budgets_runtally t ON t.organization_id = p_org AND t.run_id = l.parent_run_id)
  SELECT run_id FROM lineage
$$;

-- The bounds of a run: the tighter ones of its own workflow and of its root's.
CREATE OR REPLACE FUNCTION budgets_bounds(
  p_org bigint, p_run budgets_runtally, p_root budgets_runtally,
  OUT cost_usd numeric, OUT steps bigint, OUT attempts bigint, OUT depth bigint, OUT children bigint,
  OUT seconds bigint, OUT same_tool_calls bigint)
LANGUAGE sql STABLE AS $$
  SELECT min(max_cost_usd), min(max_steps), min(max_attempts), min(max_depth), min(max_children), min(max_seconds),
    min(max_same_tool_calls)
  FROM budgets_runbound
  WHERE organization_id = p_org AND workflow_id = ANY (ARRAY[(p_run).workflow_id, (p_root).workflow_id])
$$;

-- Say once that a run reached a bound: on the run's root, and as a crossing.
CREATE OR REPLACE FUNCTION budgets_reach(
  p_org bigint, p_now timestamptz, p_run text, p_root text, p_bound text, p_limit numeric, p_team text, p_workflow text)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE budgets_runtally t
  SET reached = t.reached || jsonb_build_object(p_bound, jsonb_build_object('at', p_now, 'limit', p_limit::text))
  WHERE t.organization_id = p_org AND t.run_id = p_root
    AND COALESCE((t.reached -> p_bound ->> 'limit')::numeric, -1) <> p_limit;
  INSERT INTO budgets_crossing (organization_id, crossing_id, kind, subject, severity, team, run_id, crossed_at, facts)
  VALUES (p_org, uuidv7(), 'run_bound', format('%s:%s', p_root, p_bound), 'critical', p_team, p_root, p_now,
    jsonb_build_object('run_id', p_run, 'root_run_id', p_root, 'bound', p_bound, 'limit', p_limit::text,
      'workflow', p_workflow, 'team', p_team))
  ON CONFLICT (organization_id, kind, subject) DO NOTHING;
END $$;

-- How often a run did the same thing, after `p_by` more.
CREATE OR REPLACE FUNCTION budgets_count(p_org bigint, p_run text, p_kind text, p_name text, p_by bigint)
RETURNS bigint LANGUAGE sql AS $$
  INSERT INTO budgets_runcount AS c (organization_id, run_id, kind, name, count)
  VALUES (p_org, p_run, p_kind, p_name, p_by)
  ON CONFLICT (organization_id, run_id, kind, name) DO UPDATE SET count = c.count + EXCLUDED.count
  RETURNING c.count
$$;

-- Hold all the trees of a batch in one order: the root of one run stands anywhere among the names of the others.
CREATE OR REPLACE FUNCTION budgets_enter_all(p_org bigint, p_now timestamptz, p_changes jsonb)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_runs text[] := ARRAY(SELECT r.run_id FROM jsonb_to_recordset(p_changes) AS r(run_id text));
  v_parents text[] := ARRAY(
    SELECT DISTINCT r.parent_run_id FROM jsonb_to_recordset(p_changes) AS r(parent_run_id text)
    WHERE r.parent_run_id <> ALL (v_runs));
BEGIN
  INSERT INTO budgets_runtally (organization_id, run_id, root_run_id, depth, started_at, last_at, children, steps,
    steps_held, spent_usd, held_usd, overrun_usd, reached)
  SELECT p_org, parent, parent, 0, p_now, p_now, 0, 0, 0, 0, 0, 0, '{}' FROM unnest(v_parents) AS parent
  ORDER BY parent COLLATE "C"
  ON CONFLICT DO NOTHING;
  PERFORM 1 FROM budgets_runtally t WHERE t.organization_id = p_org AND t.run_id IN (
    SELECT unnest(v_runs || v_parents)
    UNION SELECT s.root_run_id FROM budgets_runtally s
    WHERE s.organization_id = p_org AND s.run_id = ANY (v_runs || v_parents))
  ORDER BY t.run_id COLLATE "C" FOR UPDATE;
END $$;

-- Add what events brought to runs, and notice the bounds that they reached. `p_changes`, sorted by run_id:
-- [{run_id, parent_run_id, workflow_id, workflow, team, spent, held, overrun, steps, steps_held, attempt,
--   counts: [{kind, name, n}]}], signed.
CREATE OR REPLACE FUNCTION budgets_apply_runs(p_org bigint, p_now timestamptz, p_changes jsonb)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_change jsonb;
  v_entered record;
  v_root budgets_runtally;
  v_bounds record;
  v_count jsonb;
  v_attempts bigint;
  v_same bigint;
BEGIN
  PERFORM budgets_enter_all(p_org, p_now, p_changes);
  FOR v_change IN SELECT value FROM jsonb_array_elements(p_changes) LOOP
    SELECT * INTO v_entered FROM budgets_enter_run(p_org, p_now, v_change);
    UPDATE budgets_runtally t SET last_at = p_now
    WHERE t.organization_id = p_org AND t.run_id = v_change ->> 'run_id' AND t.run_id <> (v_entered.root).run_id;
    UPDATE budgets_runtally t SET spent_usd = t.spent_usd + (v_change ->> 'spent')::numeric,
      held_usd = t.held_usd + (v_change ->> 'held')::numeric,
      overrun_usd = t.overrun_usd + (v_change ->> 'overrun')::numeric,
      steps = t.steps + (v_change ->> 'steps')::bigint,
      steps_held = t.steps_held + (v_change ->> 'steps_held')::bigint,
      last_at = p_now
    WHERE t.organization_id = p_org AND t.run_id = (v_entered.root).run_id
    RETURNING t.* INTO v_root;
    v_attempts := (v_change ->> 'attempt')::bigint;
    v_same := 0;
    FOR v_count IN SELECT value FROM jsonb_array_elements(v_change -> 'counts') LOOP
      IF v_count ->> 'kind' = 'step' THEN
        v_attempts := GREATEST(v_attempts, budgets_count(p_org, v_change ->> 'run_id', 'step', v_count ->> 'name',
          (v_count ->> 'n')::bigint));
      ELSE
        v_same := GREATEST(v_same, budgets_count(p_org, v_change ->> 'run_id', 'tool', v_count ->> 'name',
          (v_count ->> 'n')::bigint));
      END IF;
    END LOOP;
    SELECT * INTO v_bounds FROM budgets_bounds(p_org, v_entered.run, v_root);
    PERFORM budgets_reach(p_org, p_now, v_change ->> 'run_id', v_root.run_id, b.bound, b.most, v_change ->> 'team',
      v_change ->> 'workflow')
    FROM (VALUES
      ('cost', v_bounds.cost_usd, v_root.spent_usd),
      ('steps', v_bounds.steps, v_root.steps),
      ('attempts', v_bounds.attempts, v_attempts - 1),
      ('depth', v_bounds.depth, (v_entered.run).depth - 1),
      ('children', v_bounds.children, COALESCE(v_entered.parent_children, 0)),
      ('seconds', v_bounds.seconds, extract(epoch FROM p_now - v_root.started_at)),
      ('same_tool_calls', v_bounds.same_tool_calls, v_same - 1)
    ) AS b(bound, most, used)
    WHERE b.used >= b.most AND (b.bound <> 'children' OR v_entered.is_new);
  END LOOP;
END $$;
