-- Whether a crossing was written since this transaction began, by it or beside it. Called after what may have written
-- one, in the same statement: a reason to ask for it to be told, and no proof. Index: budgets_crossing_newest.
CREATE OR REPLACE FUNCTION budgets_crossed(p_org bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  RETURN EXISTS (SELECT FROM budgets_crossing WHERE organization_id = p_org AND crossed_at >= now());
END $$;
