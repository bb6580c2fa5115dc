"""The tables as SQLAlchemy models, one file for a table or a few related ones. Models contain no business rules."""

from app.extensions import db
from app.models.access import ApiToken, Invitation
from app.models.alert import Alert, AlertMessage, AlertRule
from app.models.audit import Audit, AuditJob
from app.models.connection import Connection
from app.models.consumer import Consumer, WorkerMinute
from app.models.content import Content, ImportReject, ImportRun
from app.models.cost import JobCost, TenantBudget
from app.models.failed_job import FailedJob
from app.models.forecast import Prediction, RunTimeModel
from app.models.generation import ContentVersion, Generation, PromptTemplate
from app.models.histogram import JobHistogram
from app.models.job import LIVE_STATES, Job
from app.models.job_batch import JobBatch
from app.models.job_edge import JobEdge
from app.models.job_fact import ErrorGroup, JobFact, JobText
from app.models.job_history import JobHistory
from app.models.job_limit import JobLimit, RateStart
from app.models.job_log import JobLog
from app.models.job_metric import FINAL, JobMetric
from app.models.notice import Follow, Notice
from app.models.queue_state import Meta, Queue
from app.models.recurring import Recurring, RecurringRun, Schedule
from app.models.report import Mail, Report, ReportPlan
from app.models.rollup import JobMinute, QueueMinute, QueueSecond, RollupSent, RollupTenant, RollupType
from app.models.saved import KeptForm, SavedView
from app.models.sync import SyncAction, SyncLink
from app.models.types import read_leniently
from app.models.upload import UPLOAD_ID, Upload
from app.models.usage import Deploy, MachineMinute, UsageHour
from app.models.user import LoginAttempt, User, UserSession
from app.models.worker_heartbeat import WorkerHeartbeat

read_leniently(db.metadata)

__all__ = [
    "FINAL", "LIVE_STATES", "UPLOAD_ID", "Alert", "AlertMessage", "AlertRule", "ApiToken", "Audit", "AuditJob",
    "Connection", "Consumer", "Content", "ContentVersion", "Deploy", "ErrorGroup", "FailedJob", "Follow", "Generation",
    "ImportReject", "ImportRun", "Invitation", "Job", "JobBatch", "JobCost", "JobEdge", "JobFact", "JobHistogram",
    "JobHistory", "JobLimit", "JobLog", "JobMetric", "JobMinute", "JobText", "KeptForm", "LoginAttempt",
    "MachineMinute", "Mail", "Meta", "Notice", "Prediction", "PromptTemplate", "Queue", "QueueMinute", "QueueSecond",
    "RateStart", "Recurring", "RecurringRun", "Report", "ReportPlan", "RollupSent", "RollupTenant", "RollupType",
    "RunTimeModel", "SavedView", "Schedule", "SyncAction", "SyncLink", "TenantBudget", "Upload", "UsageHour", "User",
    "UserSession", "WorkerHeartbeat", "WorkerMinute"]
