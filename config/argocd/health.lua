-- The health of the five kinds of regatta.dev for Argo CD: the same for each of them, because they keep the same conditions.
-- Outcomes of runs (LastRunSucceeded, Synced) are no matter of health: a registry elsewhere that cannot be reached for an hour makes
-- no application degraded.
local function health(status, message)
  return { status = status, message = message }
end

if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", "Being deleted")
end

-- The definitions give a new object observedGeneration -1; an object that has none at all was never seen either.
local seen = obj.status ~= nil and obj.status.observedGeneration or nil
if seen == nil or seen < 0 then
  return health("Progressing", "Waiting for the operator")
end
if obj.metadata.generation ~= nil and seen ~= obj.metadata.generation then
  return health("Progressing", "Waiting for the operator to see the newest change")
end

local conditions = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  conditions[condition.type] = condition
end
local stalled, reconciling, ready = conditions.Stalled, conditions.Reconciling, conditions.Ready

if stalled ~= nil and stalled.status == "True" then
  return health("Degraded", stalled.message)
end
if obj.spec ~= nil and obj.spec.suspend == true then
  return health("Healthy", "Suspended: spec.suspend is true")
end
if reconciling ~= nil and reconciling.status == "True" then
  return health("Progressing", reconciling.message)
end
if ready ~= nil and ready.status == "True" then
  return health("Healthy", ready.message)
end
return health("Progressing", ready ~= nil and ready.message or "Waiting for the condition Ready")
