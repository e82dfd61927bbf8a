-- Counters of budgets: opened on first use, limited again when a raise expires, changed by what is booked.
-- All run inside a tenant's transaction, and lock counters in the order of their ids, after everything else.

CREATE OR REPLACE FUNCTION budgets_limit(
  p_org bigint, p_budget bigint, p_rolled numeric, p_now timestamptz,
  OUT limit_usd numeric, OUT limit_until timestamptz, OUT is_cap boolean)
LANGUAGE sql STABLE AS $$
  SELECT b.amount_usd + p_rolled + COALESCE(sum(r.amount_usd), 0), min(r.expires_at), b.mode = 'block'
  FROM budgets_budget b
  LEFT JOIN budgets_raise r ON r.organization_id = b.organization_id AND r.budget_id = b.id
    AND r.state = 'approved' AND r.expires_at > p_now
  WHERE b.organization_id = p_org AND b.id = p_budget
  GROUP BY b.id
$$;

-- What of the period before is carried into the one that begins: at most the budget's own amount. Where the
-- organization's zone changed since it was opened, that one ends up to two days beside where this one begins.
CREATE OR REPLACE FUNCTION budgets_rolled(p_budget budgets_budget, p_start timestamptz, p_subject text)
RETURNS numeric LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN NOT (p_budget).rollover THEN 0 ELSE COALESCE(
    (SELECT GREATEST(0, LEAST((p_budget).amount_usd, c.limit_usd - c.spent_usd - c.held_usd)) FROM budgets_counter c
     WHERE c.organization_id = (p_budget).organization_id AND c.budget_id = (p_budget).id
       AND c.subject = p_subject AND c.period_start < p_start AND abs(extract(epoch FROM c.period_end - p_start))
         <= CASE (p_budget).period WHEN 'day' THEN 0 ELSE 172800 END
     ORDER BY c.period_start DESC LIMIT 1),
    -- Nothing was spent in it, unless the budget is younger.
    CASE WHEN (p_budget).created_at < p_start THEN (p_budget).amount_usd ELSE 0 END) END
$$;

-- The counters that are watched, each made where it is missing. Sorted: two batches open them in one order.
CREATE OR REPLACE FUNCTION budgets_open(p_org bigint, p_now timestamptz, p_watch jsonb)
RETURNS TABLE (budget_id bigint, period_start timestamptz, subject text, counter_id bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  v_watched record;
  v_budget budgets_budget;
  v_id bigint;
  v_end timestamptz;
BEGIN
  FOR v_watched IN
    SELECT w.* FROM jsonb_to_recordset(p_watch)
      AS w(budget_id bigint, period_start timestamptz, period_end timestamptz, subject text)
    ORDER BY w.budget_id, w.period_start, w.subject COLLATE "C"
  LOOP
    SELECT c.counter_id, c.period_end INTO v_id, v_end FROM budgets_counter c
    WHERE c.organization_id = p_org AND c.budget_id = v_watched.budget_id
      AND c.period_start = v_watched.period_start
      AND md5(c.subject) = md5(v_watched.subject) AND c.subject = v_watched.subject;
    IF FOUND AND v_end <> v_watched.period_end THEN
      -- The organization's zone changes within the period.
      UPDATE budgets_counter c SET period_end = v_watched.period_end
      WHERE c.organization_id = p_org AND c.counter_id = v_id;
    ELSIF v_id IS NULL THEN
      -- Held, so that whoever changes the budget finds the counter, or is waited for here.
      SELECT b.* INTO v_budget FROM budgets_budget b
      WHERE b.organization_id = p_org AND b.id = v_watched.budget_id FOR SHARE;
      CONTINUE WHEN NOT FOUND;
      INSERT INTO budgets_counter (organization_id, counter_id, budget_id, period_start, period_end, subject, is_cap,
        limit_usd, limit_until, rolled_usd, spent_usd, held_usd, overrun_usd, assumed_usd, events, unpriced_events)
      SELECT p_org, nextval('budgets_counter_id'), v_budget.id, v_watched.period_start, v_watched.period_end,
        v_watched.subject, l.is_cap, l.limit_usd, l.limit_until, r.rolled, 0, 0, 0, 0, 0, 0
      FROM budgets_rolled(v_budget, v_watched.period_start, v_watched.subject) AS r(rolled),
        budgets_limit(p_org, v_budget.id, r.rolled, p_now) AS l
      ON CONFLICT DO NOTHING
      RETURNING counter_id INTO v_id;
      IF NOT FOUND THEN
        SELECT c.counter_id INTO v_id FROM budgets_counter c
        WHERE c.organization_id = p_org AND c.budget_id = v_watched.budget_id
          AND c.period_start = v_watched.period_start
          AND md5(c.subject) = md5(v_watched.subject) AND c.subject = v_watched.subject;
      END IF;
    END IF;
    budget_id := v_watched.budget_id;
    period_start := v_watched.period_start;
    subject := v_watched.subject;
    counter_id := v_id;
    RETURN NEXT;
  END LOOP;
END $$;

-- Reckon the limit of a counter again, which the caller has locked. What is above a lower one becomes overrun.
CREATE OR REPLACE FUNCTION budgets_relimit(p_org bigint, p_counter bigint, p_now timestamptz)
RETURNS budgets_counter LANGUAGE plpgsql AS $$
DECLARE
  v_new budgets_counter;
BEGIN
  UPDATE budgets_counter c SET limit_usd = l.limit_usd, limit_until = l.limit_until, is_cap = l.is_cap,
    overrun_usd = c.overrun_usd + CASE WHEN l.is_cap
      THEN GREATEST(0, c.spent_usd + c.held_usd - c.overrun_usd - l.limit_usd) ELSE 0 END
  FROM budgets_counter k, budgets_limit(p_org, k.budget_id, k.rolled_usd, p_now) AS l
  WHERE k.organization_id = p_org AND k.counter_id = p_counter
    AND c.organization_id = p_org AND c.counter_id = p_counter
  RETURNING c.* INTO v_new;
  PERFORM budgets_cross(p_org, p_now, ARRAY[p_counter]);
  RETURN v_new;
END $$;

-- Every counter of a budget whose period is not over.
CREATE OR REPLACE FUNCTION budgets_relimit_all(p_org bigint, p_budget bigint, p_now timestamptz)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  v_id bigint;
  v_count integer := 0;
BEGIN
  FOR v_id IN
    SELECT counter_id FROM budgets_counter
    WHERE organization_id = p_org AND budget_id = p_budget AND period_end > p_now
    ORDER BY counter_id FOR UPDATE
  LOOP
    PERFORM budgets_relimit(p_org, v_id, p_now);
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;

CREATE OR REPLACE FUNCTION budgets_facts(p_counter budgets_counter, p_budget budgets_budget)
RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT jsonb_build_object(
    'budget', (p_budget).name, 'budget_id', (p_budget).id, 'scope', (p_budget).scope, 'subject', (p_counter).subject,
    'mode', (p_budget).mode, 'period', (p_budget).period,
    'period_start', (p_counter).period_start, 'period_end', (p_counter).period_end,
    'limit_usd', (p_counter).limit_usd::text, 'spent_usd', (p_counter).spent_usd::text,
    'held_usd', (p_counter).held_usd::text, 'overrun_usd', (p_counter).overrun_usd::text)
$$;

-- The team that a crossing of the budget is for.
CREATE OR REPLACE FUNCTION budgets_team(p_counter budgets_counter, p_budget budgets_budget)
RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE (p_budget).scope ->> 'team'
    WHEN '*' THEN NULLIF((p_counter).subject, '')::jsonb ->> 'team'
    ELSE (p_budget).scope ->> 'team' END
$$;

-- Thresholds of what is spent that these counters have passed: a row each, once.
CREATE OR REPLACE FUNCTION budgets_cross(p_org bigint, p_now timestamptz, p_counters bigint[])
RETURNS void LANGUAGE sql AS $$
  INSERT INTO budgets_crossing (organization_id, crossing_id, kind, subject, severity, team, budget_id, crossed_at,
    facts)
  SELECT p_org, uuidv7(), 'threshold', format('%s:%s', c.counter_id, t.threshold),
    CASE WHEN t.threshold >= 100 THEN 'critical' WHEN t.threshold >= 75 THEN 'warning' ELSE 'info' END,
    budgets_team(c, b), b.id, p_now, budgets_facts(c, b) || jsonb_build_object('threshold', t.threshold)
  FROM budgets_counter c
  JOIN budgets_budget b ON b.organization_id = c.organization_id AND b.id = c.budget_id
  CROSS JOIN unnest(b.thresholds) AS t(threshold)
  WHERE c.organization_id = p_org AND c.counter_id = ANY (p_counters)
    AND b.ended_at IS NULL AND c.spent_usd > 0 AND c.spent_usd * 100 >= c.limit_usd * t.threshold
    AND NOT EXISTS (
      SELECT FROM budgets_crossing x WHERE x.organization_id = p_org AND x.kind = 'threshold'
        AND x.subject = format('%s:%s', c.counter_id, t.threshold))
  ON CONFLICT (organization_id, kind, subject) DO NOTHING
$$;

-- Add what was booked. `p_changes`: [{counter_id, spent, held, overrun, assumed, events, unpriced}], signed.
CREATE OR REPLACE FUNCTION budgets_apply(p_org bigint, p_now timestamptz, p_changes jsonb)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  v_crossed bigint[];
  v_count integer;
BEGIN
  PERFORM 1 FROM budgets_counter
  WHERE organization_id = p_org
    AND counter_id IN (SELECT d.counter_id FROM jsonb_to_recordset(p_changes) AS d(counter_id bigint))
  ORDER BY counter_id FOR UPDATE;
  WITH changed AS (
    UPDATE budgets_counter c SET spent_usd = c.spent_usd + d.spent, held_usd = c.held_usd + d.held,
      overrun_usd = c.overrun_usd + d.overrun, assumed_usd = c.assumed_usd + d.assumed,
      events = c.events + d.events, unpriced_events = c.unpriced_events + d.unpriced
    FROM jsonb_to_recordset(p_changes) AS d(counter_id bigint, spent numeric, held numeric, overrun numeric,
      assumed numeric, events bigint, unpriced bigint)
    WHERE c.organization_id = p_org AND c.counter_id = d.counter_id
    RETURNING c.counter_id, c.budget_id, old.spent_usd AS before_usd, new.spent_usd AS after_usd, c.limit_usd)
  SELECT count(*), array_agg(changed.counter_id) FILTER (WHERE EXISTS (
    SELECT FROM unnest(b.thresholds) t
    WHERE after_usd * 100 >= limit_usd * t AND (before_usd * 100 < limit_usd * t OR before_usd <= 0)))
  INTO v_count, v_crossed
  FROM changed JOIN budgets_budget b ON b.organization_id = p_org AND b.id = changed.budget_id;
  IF v_count <> jsonb_array_length(p_changes) THEN
    RAISE EXCEPTION 'of % counters to change % exist', jsonb_array_length(p_changes), v_count;
  END IF;
  IF v_crossed IS NOT NULL THEN
    PERFORM budgets_cross(p_org, p_now, v_crossed);
  END IF;
END $$;
