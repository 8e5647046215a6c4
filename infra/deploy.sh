#!/usr/bin/env bash
# Runs Terraform for one deployment. Its variables and its backend are in infra/env/ENV, its state is in the backend's bucket.
# `make deploy|plan|drift|destroy|bootstrap ENV=…` run this; docs/DEPLOY.md has the steps.
set -euo pipefail

usage() {
  cat <<'USAGE'
usage: infra/deploy.sh VERB ENV [--yes] [--allow-destroy] [TERRAFORM'S ARGUMENTS for infra/aws, as -var NAME=VALUE]

  deploy     Google Cloud, AWS, the image of transform-quotes; shows each plan and asks before it is applied
  plan       show what deploy would change, except for the image
  drift      as plan; exit code 2 if anything differs
  destroy    remove everything; asks
  bootstrap  create the bucket for the state, if it is missing
  lock       write the providers' hashes of all platforms (.terraform.lock.hcl), to be committed

  --yes            apply without asking; a plan that destroys something is refused
  --allow-destroy  with --yes: apply it all the same
USAGE
}

die() { echo "error: $*" >&2; exit 1; }

infra=$(cd "$(dirname "$0")" && pwd)
verb=${1:-}
env=${2:-}
[[ $verb && $env && $verb != --help ]] || { usage; exit 1; }
shift 2
place=$infra/env/$env
[[ -d $place ]] || die "infra/env/$env is missing: begin with cp -r infra/env/example infra/env/$env"
for file in aws.tfvars gcp.tfvars backend.hcl; do
  [[ -f $place/$file ]] || die "infra/env/$env/$file is missing; copy it from infra/env/example"
done

is_approved= may_destroy= is_new_image= arguments=()
for argument in "$@"; do
  case $argument in
    --yes) is_approved=1 ;;
    --allow-destroy) may_destroy=1 ;;
    *) arguments+=("$argument") ;;
  esac
done

# Runs Terraform on a root, with a folder of the deployment for the files that init writes.
tf() {
  local root=$1
  shift
  TF_DATA_DIR=$infra/.terraform/$env/$root terraform -chdir="$infra/$root" "$@"
}

lock() {
  # It reads the modules.
  tf "$1" get >/dev/null && tf "$1" providers lock -platform=linux_amd64 -platform=linux_arm64 -platform=darwin_amd64 -platform=darwin_arm64
}

init() {
  if [[ ! -f $infra/$1/.terraform.lock.hcl ]]; then
    # A lock with only one platform's hashes would fail on all other platforms.
    lock "$1" >/dev/null && echo "note: commit infra/$1/.terraform.lock.hcl, which pins the providers for everybody" \
      || echo "note: the providers' registry does not answer, so the providers are not pinned by hash" >&2
  fi
  tf "$1" init -input=false -backend-config="$place/backend.hcl" -backend-config="key=quoteflow/$env/$1.tfstate" >/dev/null
}

# Shows a root's plan and keeps it. Returns 0 if there is nothing to change, 2 if there is.
plan() {
  local root=$1 code=0
  shift
  tf "$root" plan -input=false -detailed-exitcode -var-file="$place/$root.tfvars" -out="$infra/.terraform/$env/$root.tfplan" "$@" || code=$?
  [[ $code -ne 1 ]] || exit 1
  return $code
}

# Applies exactly the plan that was shown.
apply() {
  local root=$1 code=0 saved=$infra/.terraform/$env/$1.tfplan destroyed answer
  plan "$@" || code=$?
  [[ $code -eq 2 ]] || return 0
  destroyed=$(tf "$root" show -json "$saved" | python3 -c 'import json, sys
for one in json.load(sys.stdin).get("resource_changes", []):
    if "delete" in one["change"]["actions"]: print("  ", one["address"])')
  [[ -z $destroyed ]] || printf 'This plan destroys:\n%s\n' "$destroyed"
  if [[ $is_approved ]]; then
    [[ -z $destroyed || $may_destroy ]] || die "the plan destroys resources: check them, then pass --allow-destroy"
  else
    read -rp "Apply this plan to $env? Type yes to apply: " answer
    [[ $answer == yes ]] || die "not applied"
  fi
  tf "$root" apply -input=false "$saved"
}

# Prints a setting of aws.tfvars, or its default. (terraform console would plan everything for it.)
setting() {
  local found
  found=$(sed -nE "s/^$1 *= *\"([^\"]*)\".*/\1/p" "$place/aws.tfvars")
  echo "${found:-$2}"
}

settings() {
  name=$(setting name quoteflow)
  region=$(setting aws_region us-east-1)
  architecture=$(setting architecture x86_64)
}

# Values that later steps and other operators need are kept in Systems Manager, not in this folder.
# Fails if it knew this already.
remember() {
  local parameter=/$name/$1 value=$2
  [[ $(aws ssm get-parameter --region "$region" --name "$parameter" --query Parameter.Value --output text 2>/dev/null) != "$value" ]] || return
  aws ssm put-parameter --region "$region" --name "$parameter" --type String --overwrite --value "$value" >/dev/null || exit 1
}

check_concurrency() {
  local limit
  limit=$(aws lambda get-account-settings --region "$region" --query AccountLimit.ConcurrentExecutions --output text)
  # 10 are reserved with the page, and AWS requires 100 unreserved ones.
  [[ $limit -ge 110 ]] || die "the account may run $limit functions at once, and 110 are needed: aws service-quotas request-service-quota-increase --region $region --service-code lambda --quota-code L-B99A9384 --desired-value 1000"
}

# Builds and pushes the image of transform-quotes unless one with the same content exists, and stores its digest.
image() {
  local context=$infra/../target/package/transform-quotes repository tag names pushed
  if ! docker info >/dev/null 2>&1; then
    echo "note: Docker does not answer, so the image of transform-quotes is not changed; docs/DEPLOY.md says how to build it elsewhere"
    return
  fi
  echo "== AWS: the repository of the image"
  apply aws -target=aws_ecr_repository.transform_quotes "${arguments[@]}"
  repository=$(tf aws output -raw transform_repository_url)
  read -ra names < <(python3 -c 'import json, sys; print(*(f"--build-arg=BIGQUERY_{name.upper()}={value}"
    for name, value in json.load(sys.stdin)["bigquery"].items()))' <<<"$google")
  # The tag is a hash of the content and of dbt's names, so an unchanged image is neither built nor pushed again.
  tag=$(cd "$context" && { find . -type f -print0 | sort -z | xargs -0 sha256sum; echo "${names[@]}"; } | sha256sum | cut -c1-16)-$architecture
  digest() {
    local found
    found=$(aws ecr describe-images --region "$region" --repository-name "${repository#*/}" --image-ids imageTag="$tag" \
      --query 'imageDetails[0].imageDigest' --output text 2>/dev/null) && [[ $found == sha256:* ]] && echo "$found"
  }
  if ! digest >/dev/null; then
    aws ecr get-login-password --region "$region" | docker login --username AWS --password-stdin "${repository%%/*}"
    # Lambda does not accept attestations.
    docker buildx build --platform "linux/${architecture/x86_64/amd64}" --provenance=false --push "${names[@]}" \
      --file "$context/functions/transform-quotes/Dockerfile" --tag "$repository:$tag" "$context"
  fi
  pushed=$(digest) || die "the image $tag is not in $repository after its push"
  ! remember transform-image-uri "$repository@$pushed" || is_new_image=1
}

bootstrap() {
  local bucket region
  bucket=$(sed -nE 's/^ *bucket *= *"([^"]+)".*/\1/p' "$place/backend.hcl")
  region=$(sed -nE 's/^ *region *= *"([^"]+)".*/\1/p' "$place/backend.hcl")
  [[ $bucket && $region ]] || die "infra/env/$env/backend.hcl must name bucket and region"
  if aws s3api head-bucket --bucket "$bucket" >/dev/null 2>&1; then
    echo "the bucket $bucket exists"
  elif [[ $region == us-east-1 ]]; then
    aws s3api create-bucket --region "$region" --bucket "$bucket" >/dev/null
  else
    aws s3api create-bucket --region "$region" --bucket "$bucket" --create-bucket-configuration "LocationConstraint=$region" >/dev/null
  fi
  # Versioning allows an overwritten state to be restored.
  aws s3api put-bucket-versioning --region "$region" --bucket "$bucket" --versioning-configuration Status=Enabled
  aws s3api put-public-access-block --region "$region" --bucket "$bucket" \
    --public-access-block-configuration BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
  aws s3api put-bucket-policy --region "$region" --bucket "$bucket" --policy "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Sid\":\"TlsOnly\",\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"s3:*\",\"Resource\":[\"arn:aws:s3:::$bucket\",\"arn:aws:s3:::$bucket/*\"],\"Condition\":{\"Bool\":{\"aws:SecureTransport\":\"false\"}}}]}"
  echo "the states of $env will be in s3://$bucket/quoteflow/$env/"
}

deploy() {
  init gcp
  init aws
  settings
  check_concurrency
  echo "== Google Cloud"
  apply gcp
  google=$(tf gcp output -json for_aws)
  remember google "$google" || true
  image
  echo "== AWS"
  apply aws "${arguments[@]}"
  # This creates silver's and gold's views before the schedule's first run.
  [[ ! $is_new_image ]] || aws lambda invoke --region "$region" --function-name "$name-transform-quotes" --invocation-type Event \
    --cli-binary-format raw-in-base64-out --payload '{}' /dev/null >/dev/null
}

differences() {
  local code=0
  init gcp || exit 1
  init aws || exit 1
  echo "== Google Cloud"
  plan gcp || code=$?
  echo "== AWS"
  plan aws "${arguments[@]}" || code=$?
  return $code
}

destroy() {
  init gcp
  init aws
  settings
  tf aws destroy -var-file="$place/aws.tfvars" ${is_approved:+-auto-approve} "${arguments[@]}"
  tf gcp destroy -var-file="$place/gcp.tfvars" ${is_approved:+-auto-approve}
  aws ssm delete-parameters --region "$region" --names "/$name/google" "/$name/transform-image-uri" >/dev/null
}

mkdir -p "$infra/.terraform/$env"
case $verb in
  deploy) deploy ;;
  plan) differences || [[ $? -eq 2 ]] ;;
  drift) differences ;;
  destroy) destroy ;;
  bootstrap) bootstrap ;;
  lock) lock gcp && lock aws ;;
  *) usage; exit 1 ;;
esac
