"""The simulator: the real conductor and the real rules in a world that goes wrong, from one seed.

Time is virtual.  The engine crashes before and after durable writes, writes fail, results come late,
doubled or never, plugins restart and change their version, the clock jumps, people decide, and a hostile
client sends commands that nobody is owed.  Workers of jobs say everything that they may, and more.  After
every step the invariants of ARCHITECTURE.md are checked; at the end every run must have ended, and its
history is told, folded anew and held against a simpler account of it.  The same seed gives the same life.
Schedules have lives of their own: `schedules`.
"""

from headway.simulation.campaign import Campaign, campaign
from headway.simulation.life import Simulation
from headway.simulation.schedules import ScheduleLife, schedule_campaign

__all__ = ["Campaign", "ScheduleLife", "Simulation", "campaign", "schedule_campaign"]
